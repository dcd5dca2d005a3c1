//! What stages and layers remark on settings that do what few people mean: all of it, in one list.

use config::diagnostic::Severity::{Note, Warning};
use flow::lint::Lint;

/// Numbers for pixels of 0 to 1.
pub static NORMALIZER_RANGE: Lint = Lint {
    name: "normalizer_range",
    severity: Note,
    about: "A normalizer's numbers are for pixels of 0 to 1, and pixels are 0 to 255.",
};

/// Images whose rows are columns.
pub static TURNED_IMAGES: Lint = Lint {
    name: "turned_images",
    severity: Warning,
    about: "EMNIST's images lie on their sides, and `transpose` does not say whether to turn them.",
};

/// A layer that does something to the scores right before the loss.
pub static ACTIVATION_BEFORE_LOSS: Lint = Lint {
    name: "activation_before_loss",
    severity: Note,
    about: "Scores pass a softmax, relu, gelu or silu before the loss, which takes them as they are.",
};

/// Scores that are dropped.
pub static DROPOUT_BEFORE_LOSS: Lint = Lint {
    name: "dropout_before_loss",
    severity: Note,
    about: "Scores are dropped at random before the loss.",
};

/// Two layers that are one.
pub static LINEAR_LAYERS: Lint = Lint {
    name: "linear_layers",
    severity: Note,
    about: "Two layers have nothing nonlinear between them: together they are a linear one.",
};

/// Running statistics of little more than the last batch.
pub static BATCH_NORM_MOMENTUM: Lint = Lint {
    name: "batch_norm_momentum",
    severity: Note,
    about: "A momentum of 0.5 and more: running statistics follow the last batches.",
};

/// Statistics of a part of the batch.
pub static PER_ADAPTER_STATISTICS: Lint = Lint {
    name: "per_adapter_statistics",
    severity: Warning,
    about: "A batch_norm takes statistics of each adapter's images by themselves.",
};

/// A decay of nothing.
pub static ADAMW_WITHOUT_DECAY: Lint = Lint {
    name: "adamw_without_decay",
    severity: Note,
    about: "The optimiser is adamw, and no layer has a weight decay.",
};

/// A learning rate that only rises.
pub static LONG_WARM_UP: Lint = Lint {
    name: "long_warm_up",
    severity: Note,
    about: "The learning rate warms up for as long as the run, or longer.",
};

/// Weights that are never trained.
pub static FROZEN_AS_DRAWN: Lint = Lint {
    name: "frozen_as_drawn",
    severity: Note,
    about: "Frozen layers keep the random weights that they begin with.",
};

/// Weights of a model that saw other images.
pub static INIT_FROM_DIFFERS: Lint = Lint {
    name: "init_from_differs",
    severity: Warning,
    about: "Images are prepared otherwise than for the run that init_from names.",
};

/// A queue that holds images of one class.
pub static SHORT_QUEUE: Lint = Lint {
    name: "short_queue",
    severity: Warning,
    about: "Images come class by class, and a shuffler's queue holds less than a class.",
};

/// Batches of one class.
pub static UNSHUFFLED: Lint = Lint {
    name: "unshuffled",
    severity: Warning,
    about: "Images to train on come class by class, and nothing shuffles them.",
};
