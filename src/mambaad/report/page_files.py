"""The names of an inspection page's files, for those who only look for them."""

PAGE, PICTURES = "index.html", "pictures"
PICTURE_NAME = r"\d{6}(\.(heat|outline|truth|near|scales))?\.(jpg|png|webp)"
"""What the files in the folder of pictures are called, as a regular expression."""
