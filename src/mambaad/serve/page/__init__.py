"""The page of the service: server-rendered HTML, with texts in files and scripts of our own."""
