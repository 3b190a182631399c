"""The names of an inspection page's files, for those who only look for them."""

PAGE, PICTURES = "index.html", "pictures"
