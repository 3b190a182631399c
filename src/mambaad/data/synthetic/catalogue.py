"""All products and all kinds of defects, by name."""

from __future__ import annotations

from mambaad.data.synthetic import circuit, kit, label, objects, textures
from mambaad.data.synthetic.scene import Product

PRODUCTS: dict[str, Product] = {
    "fabric": Product(
        textures.plan_fabric,
        textures.build_fabric,
        ("hole", "stain", "contamination", "colour"),
        {"misplaced": textures.snag_fabric},
    ),
    "metal": Product(
        textures.plan_metal,
        textures.build_metal,
        ("scratch", "dent", "stain", "hole", "contamination", "colour"),
        {},
    ),
    "wood": Product(
        textures.plan_wood,
        textures.build_wood,
        ("scratch", "crack", "hole", "stain", "colour", "contamination"),
        {},
    ),
    "tile": Product(
        textures.plan_tile,
        textures.build_tile,
        ("crack", "hole", "scratch", "stain", "contamination"),
        {"colour": textures.swap_tile},
    ),
    "leather": Product(
        textures.plan_leather,
        textures.build_leather,
        ("scratch", "hole", "dent", "stain", "colour", "contamination"),
        {},
    ),
    "screw": Product(
        objects.plan_screw,
        objects.build_screw,
        ("scratch", "stain", "dent", "contamination"),
        {"bent": objects.bend_screw, "missing": objects.break_screw},
    ),
    "label": Product(
        label.plan_label,
        label.build_label,
        ("scratch", "stain", "hole", "contamination"),
        {"misprint": label.misprint_label, "misplaced": label.misplace_label},
    ),
    "bottle": Product(
        objects.plan_bottle,
        objects.build_bottle,
        ("crack", "hole", "scratch", "stain", "contamination"),
        {},
    ),
    "circuit": Product(
        circuit.plan_circuit,
        circuit.build_circuit,
        ("scratch", "contamination", "colour"),
        {
            "missing": circuit.lose_part,
            "misplaced": circuit.misplace_part,
            "bent": circuit.bend_pin,
            "misprint": circuit.misprint_board,
        },
    ),
    "blister": Product(
        objects.plan_blister,
        objects.build_blister,
        ("scratch", "dent", "hole", "contamination"),
        {"missing": objects.empty_pocket, "colour": objects.other_pill},
    ),
    "kit": Product(
        kit.plan_kit,
        kit.build_kit,
        (),
        {
            "missing": kit.lose_from_kit,
            "extra": kit.add_to_kit,
            "swapped": kit.swap_in_kit,
            "mistaken": kit.mistake_in_kit,
        },
    ),
}

DEFECTS: dict[str, str] = {
    "scratch": "a groove with a burr",
    "crack": "a dark jagged line that forks",
    "stain": "a dried liquid",
    "hole": "material broken out",
    "dent": "a place pressed in or out",
    "colour": "a region or a part of another shade",
    "contamination": "a fibre, a chip or crumbs that do not belong there",
    "misprint": "print that is shifted, smeared or left out",
    "bent": "a part or a pin that is not straight",
    "missing": "a part, or a piece of it, that is not there",
    "misplaced": "a part, a label or yarns not where they belong",
    "extra": "one good part too many (kit)",
    "swapped": "good parts in each other's places (kit)",
    "mistaken": "a good part of another kind in the place of one (kit)",
}
"""Every kind of defect, with a description."""
