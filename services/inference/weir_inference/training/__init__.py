"""Training of the small models that Weir ships: one module a model."""
