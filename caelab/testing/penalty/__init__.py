"""The checks of a penalty: value, gradient, reduction, side effects, and cost."""
