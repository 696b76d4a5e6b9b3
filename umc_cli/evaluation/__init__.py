"""How good a conversion, a classifier, or a data set is: pure functions on arrays, and the report on them."""
