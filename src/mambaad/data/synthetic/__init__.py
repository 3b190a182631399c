"""A factory of synthetic parts: products rendered with defects and exact masks."""

from mambaad.data.synthetic.catalogue import DEFECTS, PRODUCTS
from mambaad.data.synthetic.factory import make_data
from mambaad.data.synthetic.render import Part, render_part

__all__ = ["DEFECTS", "PRODUCTS", "Part", "make_data", "render_part"]
