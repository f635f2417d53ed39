"""A grid search over a scikit-learn pipeline that ends in bpcore's classifier, on 8 x 8 digits.

    pip install "bpcore[sklearn]"
    python examples/sklearn_pipeline.py

The search covers the activation and the dropout rate.
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bpcore.cli.program import run
from bpcore.sklearn import MLPClassifier


def main() -> float:
    """Search, print the scores, and return the best model's accuracy on held-out digits."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, stratify=y, random_state=0)
    classifier = MLPClassifier(
        (64,),
        learning_rate="one_cycle",
        learning_rate_init=0.01,
        max_iter=10,
        tol=0.0,
        batch_size=64,
        precision="float32",
        random_state=0,
    )
    grid = {
        "mlpclassifier__activation": ["relu", "gelu"],
        "mlpclassifier__dropout": [0.0, 0.3],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier), grid, cv=3)
    search.fit(x_train, y_train)
    for settings, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"{100 * score:.1f} %  {settings}")
    accuracy = float(search.score(x_test, y_test))
    print(f"test accuracy of the best: {100 * accuracy:.1f} %")
    return accuracy


if __name__ == "__main__":
    run(main)
