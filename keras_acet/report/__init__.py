"""Writes the results of an evaluation as a report: Markdown, one HTML page, figures, JSON and CSV.

Call `write_report(evaluation, directory)`. `results.json` is an `evaluation.Results` as JSON, schema
version 2; shares and confidences lie in [0, 1], radii are l_inf in pixel units:

```
SCHEMA
```

`results.csv` holds the rows, one line per set and run, every measured number as three columns `NAME`, `NAME_low`,
`NAME_high`.
"""

from keras_acet.evaluation.results import Results as _Results
from keras_acet.typed_json import schema as _schema

# isort: off
from keras_acet.report.writing import read_results
from keras_acet.report.writing import write
from keras_acet.report.writing import write_report
# isort: on

__all__ = [
    "read_results",
    "write",
    "write_report",
]

if __doc__:
    __doc__ = __doc__.replace("SCHEMA", _schema(_Results))
