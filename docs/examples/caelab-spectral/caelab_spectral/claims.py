"""What the penalty is for, as a claim that a comparison can support or contradict."""

from caelab import Contest, finding

COLUMN = "largest singular value, validation"


def lowers_the_top(numbers):
    """The spectral penalty leaves a smaller largest singular value than training without a penalty does."""
    contests = [Contest(larger=numbers.of("ae", COLUMN), smaller=numbers.of("spectral-ae", COLUMN))]
    statement = "The spectral penalty shrinks the direction to which the code responds most."
    return finding(statement, "caelab-spectral", "Largest singular value", contests)
