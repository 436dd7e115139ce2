"""``python -m tests.core.jacobian.battery [NAME ...]``: what became of every question, in short."""

import sys
from collections import Counter

from tests.core.jacobian.battery.questions import asked, cases

tally: Counter[str] = Counter()
count = 0
for make in cases():
    if len(sys.argv) > 1 and not any(name in str(make) for name in sys.argv[1:]):
        continue
    count += 1
    try:
        answers = list(asked(make()))
    except Exception as error:
        print(f"{make}: the battery itself failed: {type(error).__name__}: {error}", flush=True)
        continue
    tally.update(answer.verdict for answer in answers)
    for answer in answers:
        if answer.verdict not in ("right", "rightly refused"):
            print(f"{answer.verdict:12} {answer.case} | {answer.question} | {answer.detail}", flush=True)
print(count, "encoders:", dict(tally))
