"""The checks of a penalty: value, gradient, reduction, manners, and cost."""
