"""Estimators for scikit-learn: `NetClassifier` and `NetRegressor`.

    from macrograd.sklearn import NetClassifier
    NetClassifier().fit(X, y).predict_proba(X)

Needs scikit-learn: `pip install "macrograd[sklearn]"`.
"""

from __future__ import annotations

from macrograd._extras import installing

try:
    import sklearn as _sklearn  # noqa: F401 - only whether it is there
except ImportError as error:
    raise ImportError(f"macrograd.sklearn needs scikit-learn: {installing('sklearn')}") from error

from macrograd.sklearn.classifier import NetClassifier
from macrograd.sklearn.regressor import NetRegressor

__all__ = ["NetClassifier", "NetRegressor"]
