"""A traced graph written again with the operations that another runtime has."""
