"""Pages of a site and the files beside them, each a function of the edition."""
