"""What each system's source says of it: its accuracy, on which split, from which weights."""

from dataclasses import dataclass

from malaria.errors import MalariaError
from malaria.models.base.weights import IMAGENET, NONE, VGG16

ARTICLE_1 = "the first article (VGG19 study)"
ARTICLE_2 = "the second article (fastai)"
NOTEBOOK = "the notebook"


@dataclass(frozen=True)
class Published:
    """A source's own claim. `split`: of what it tested on, '' if it does not say.

    `weights` are the values of train.weights that are its own start.
    """

    source: str  # as the system names it
    accuracy: str  # as printed; '' if none is
    split: str
    weights: tuple[str, ...] = (NONE,)

    def __str__(self) -> str:
        split = f" on {self.split}" if self.split else ""
        said = f"{self.accuracy}{split}" if self.accuracy else "none"
        return f"{said}; {self.source}"


# A random split of the cells has cells of each test patient in training, so it is leaky.
_RANDOM_30 = "a random 30 % of the cells (leaky)"
_RANDOM_20 = "a random 20 % of the cells (leaky)"
# Of a copy of the set that was split anew, without regard to patients.
_STOPPED_ON = "a split of the cells (leaky) that also chose the epoch"
_OWN_VGG16 = (IMAGENET, VGG16)  # which is Keras' file

PUBLISHED = {
    "basic_cnn": Published(ARTICLE_1, "0.9497", _RANDOM_30),
    "vgg19_frozen": Published(ARTICLE_1, "0.9376", _RANDOM_30, (IMAGENET,)),
    "vgg19_finetuned": Published(ARTICLE_1, "0.9600", _RANDOM_30, (IMAGENET,)),
    "resnet18": Published(ARTICLE_2, "about 0.97", _RANDOM_20, (IMAGENET,)),
    "resnet34": Published(ARTICLE_2, "0.964", _RANDOM_20, (IMAGENET,)),
    "resnet50": Published(ARTICLE_2, "", _RANDOM_20, (IMAGENET,)),
    "resnet_preact": Published("cited by the second article", "0.97", ""),
    "cnn_base": Published(NOTEBOOK, "0.9808", _STOPPED_ON),
    "cnn_leaky": Published(NOTEBOOK, "0.9765", _STOPPED_ON),
    "cnn_se": Published(NOTEBOOK, "0.9846", _STOPPED_ON),
    "vgg16_frozen": Published(NOTEBOOK, "0.9523", _STOPPED_ON, _OWN_VGG16),
}


def published(model: str) -> Published:
    """Return what a system's source says of it; raises MalariaError if it is not written down."""
    if model not in PUBLISHED:
        raise MalariaError(
            f"malaria/studies/published.py has no line for {model!r}; add what its source claims."
        )
    return PUBLISHED[model]
