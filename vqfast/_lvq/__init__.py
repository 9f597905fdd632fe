"""Learning vector quantization: classifiers made of labelled prototypes.

::

    online.py   LVQ1, OLVQ1, LVQ21, LVQ3     ┐
    cost.py     GLVQ, RSLVQ                  │ constructors, parameters of the rules
    metric.py   GMLVQ                        ┘
    margins.py  confidence from distances: all but RSLVQ
    base.py     fit, partial_fit, predict: what all models share
    start.py    where prototypes start
    data.py     checked observations, labels, weights; the order of presentations
    parameters.py    what the parameters mean, for all docstrings; checks of numbers
    conventions.py   scikit-learn's conventions, without scikit-learn
"""

from .cost import GLVQ, RSLVQ
from .metric import GMLVQ
from .online import LVQ1, LVQ3, LVQ21, OLVQ1

__all__ = ["GLVQ", "GMLVQ", "LVQ1", "LVQ3", "LVQ21", "OLVQ1", "RSLVQ"]
