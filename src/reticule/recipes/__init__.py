"""Recipes: named chains of methods with their parameters, as plain data."""

from reticule.recipes.loader import Recipe as Recipe
from reticule.recipes.loader import Stage as Stage
from reticule.recipes.loader import load_recipe as load_recipe
from reticule.recipes.loader import recipe_names as recipe_names
from reticule.recipes.loader import recipe_text as recipe_text
