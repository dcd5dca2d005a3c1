//! A model that classifies images.

use std::fmt;
use std::slice;
use std::sync::Arc;

use flow::photo::Rules;
use flow::picture::Picture;
use inference::Predictor;

use crate::error::failed;
use crate::{Image, Result};

/// A model that classifies images, on threads of its own that wait for them. Clones are the same
/// model.
#[derive(Clone)]
pub struct Model {
    pub(crate) predictor: Arc<Predictor>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("classes", &self.classes()).finish_non_exhaustive()
    }
}

impl Model {
    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        self.predictor.classes()
    }

    /// What an image shows. It is cut and scaled to the size of the data set's images.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
    /// let model = run.latest()?.model()?;
    /// let prediction = model.predict(&gradflow::Image::from_rgb(64, 48, vec![128; 64 * 48 * 3])?)?;
    /// assert!(model.classes().contains(&prediction.best().0.to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the image cannot be read, or computing fails.
    pub fn predict(&self, image: &Image) -> Result<Prediction> {
        let mut found = self.predict_all(slice::from_ref(image))?;
        found.pop().ok_or_else(|| failed(anyhow::anyhow!("the model scored no image")))
    }

    /// What each of some images shows: faster than one after the other.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
    /// use gradflow::Image;
    ///
    /// let model = run.latest()?.model()?;
    /// let shades = [0, 128, 255].map(|shade| Image::from_rgb(32, 32, vec![shade; 32 * 32 * 3]));
    /// let images = shades.into_iter().collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(model.predict_all(&images)?.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If an image cannot be read, or computing fails.
    pub fn predict_all(&self, images: &[Image]) -> Result<Vec<Prediction>> {
        let photos = self.predictor.photos();
        let [height, width, _] = photos.image.shape;
        let rules = Rules { refuse_tiny: true, ..photos.rules };
        let pictures = images.iter().map(|image| image.picture(width, height, rules));
        let pictures = pictures.collect::<Result<Vec<Picture>>>()?;
        let shares = self.predictor.score(&pictures.iter().collect::<Vec<_>>()).map_err(failed)?;
        let classes: Arc<[String]> = self.classes().into();
        let predictions = shares
            .into_iter()
            .map(|probabilities| Prediction { probabilities, classes: Arc::clone(&classes) });
        Ok(predictions.collect())
    }
}

/// What a model takes an image for.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
/// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
/// # let image = gradflow::Image::from_rgb(32, 32, vec![128; 32 * 32 * 3])?;
/// let prediction = run.latest()?.model()?.predict(&image)?;
/// let sum: f64 = prediction.probabilities().iter().sum();
/// assert!((sum - 1.0).abs() < 1e-6);
/// let three = prediction.top(3);
/// assert_eq!(three[0], prediction.best());
/// assert!(three[0].1 >= three[1].1 && three[1].1 >= three[2].1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    probabilities: Vec<f64>,
    classes: Arc<[String]>,
}

impl Prediction {
    /// The probability of each class, in the order of [`Model::classes`]. They add up to 1.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// The likeliest class, and its probability. Of equal ones the first.
    pub fn best(&self) -> (&str, f64) {
        self.top(1).first().copied().unwrap_or(("", 0.0))
    }

    /// The likeliest classes with their probabilities, the likeliest first.
    pub fn top(&self, count: usize) -> Vec<(&str, f64)> {
        let named = self.classes.iter().map(String::as_str).zip(self.probabilities.iter().copied());
        let mut all: Vec<(&str, f64)> = named.collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_ties_in_order() {
        let classes: Vec<String> = ["cat", "dog", "frog"].map(str::to_owned).into();
        let found = Prediction { probabilities: vec![0.25, 0.5, 0.25], classes: classes.into() };
        assert_eq!(found.best(), ("dog", 0.5));
        assert_eq!(found.top(2), [("dog", 0.5), ("cat", 0.25)]);
        assert_eq!(found.top(9).len(), 3);
    }
}
