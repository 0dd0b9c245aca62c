"""How `docs/` becomes pages: what it shows of the rest of the repository, its equations, its picture."""
