"""Networks of the catalogue as torch modules; each file's `load` takes the folders of the packages it needs."""
