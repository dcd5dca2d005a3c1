//! Which class was taken for which.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Classes up to which each is told by itself: a row of a table, a curve in TensorBoard. Of more,
/// people look at the worst.
pub const FEW_CLASSES: usize = 256;

/// More classes than these are not read, as each takes some memory.
const MOST_CLASSES: usize = 1 << 20;

/// Of each class, how many of its images were taken for each class. Only what ever happened takes
/// memory: of 1,000 classes there are a million pairs, and no more of them happen than there are
/// images.
///
/// In JSON a list of rows, one for each class, with a number for each class; beyond [`FEW_CLASSES`]
/// `{"classes": 1000, "taken": [[class, taken for, images], ..]}`, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    rows: Vec<BTreeMap<usize, u64>>,
}

impl Confusion {
    /// Of so many classes and no images.
    pub fn new(classes: usize) -> Self {
        Self { rows: vec![BTreeMap::new(); classes] }
    }

    /// Counts an image of this class.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn add(&mut self, class: usize, taken_for: usize) {
        *self.rows[class].entry(taken_for).or_default() += 1;
    }

    /// How many classes there are; 0 if nothing is known of them.
    pub fn classes(&self) -> usize {
        self.rows.len()
    }

    /// How many images of a class were taken for another, or for the same.
    pub fn count(&self, class: usize, taken_for: usize) -> u64 {
        self.rows.get(class).and_then(|row| row.get(&taken_for)).copied().unwrap_or(0)
    }

    /// How many images of a class were taken for some class.
    pub fn images(&self, class: usize) -> u64 {
        self.rows.get(class).map_or(0, |row| row.values().sum())
    }

    /// For each class, the number of images of this one that were taken for it.
    pub fn row(&self, class: usize) -> impl Iterator<Item = u64> + '_ {
        (0..self.classes()).map(move |taken_for| self.count(class, taken_for))
    }

    /// Class, what it was taken for, and how often, where that ever happened; in ascending order.
    pub fn taken(&self) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(class, row)| {
            row.iter().map(move |(taken, images)| (class, *taken, *images))
        })
    }

    /// Of each class, the share of its images that was taken for it; `None` without images.
    pub fn accuracy(&self) -> Vec<Option<f64>> {
        let of = |class| {
            let images = self.images(class);
            (images > 0).then(|| self.count(class, class) as f64 / images as f64)
        };
        (0..self.classes()).map(of).collect()
    }

    /// The classes of which the least is right, that first: at most so many, and none without images.
    pub fn worst(&self, most: usize) -> Vec<usize> {
        let known = self.accuracy().into_iter().enumerate();
        let mut classes: Vec<(usize, f64)> =
            known.filter_map(|(class, share)| Some((class, share?))).collect();
        classes.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        classes.into_iter().take(most).map(|(class, _)| class).collect()
    }
}

/// Rows of as many numbers as there are rows; of others nothing is known.
impl From<Vec<Vec<u64>>> for Confusion {
    fn from(rows: Vec<Vec<u64>>) -> Self {
        let classes = rows.len();
        if rows.iter().any(|row| row.len() != classes) {
            return Self::default();
        }
        let sparse = |row: Vec<u64>| row.into_iter().enumerate().filter(|(_, images)| *images > 0);
        Self { rows: rows.into_iter().map(|row| sparse(row).collect()).collect() }
    }
}

/// How it is written if there are many classes.
#[derive(Serialize, Deserialize)]
struct Sparse {
    classes: usize,
    taken: Vec<(usize, usize, u64)>,
}

impl Serialize for Confusion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let classes = self.classes();
        if classes <= FEW_CLASSES {
            return serializer
                .collect_seq((0..classes).map(|class| self.row(class).collect::<Vec<_>>()));
        }
        Sparse { classes, taken: self.taken().collect() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Confusion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Rows(Vec<Vec<u64>>),
            Sparse(Sparse),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Rows(rows) => rows.into(),
            Written::Sparse(Sparse { taken, .. }) if taken.is_empty() => Self::default(),
            Written::Sparse(Sparse { classes, taken }) => {
                let last = taken.iter().map(|(class, taken_for, _)| *class.max(taken_for)).max();
                // A line that was damaged may claim any number.
                if classes > MOST_CLASSES || last.is_none_or(|last| last >= classes) {
                    return Ok(Self::default());
                }
                let mut rows: BTreeMap<usize, BTreeMap<usize, u64>> = BTreeMap::new();
                for (class, taken_for, images) in taken {
                    *rows.entry(class).or_default().entry(taken_for).or_default() += images;
                }
                let row = |class| rows.remove(&class).unwrap_or_default();
                Self { rows: (0..classes).map(row).collect() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_counted_by_class_and_what_they_were_taken_for() {
        let mut confusion = Confusion::new(3);
        for (class, taken_for) in [(0, 0), (0, 2), (0, 2), (0, 0), (1, 1), (1, 0)] {
            confusion.add(class, taken_for);
        }
        assert_eq!(confusion, vec![vec![2, 0, 2], vec![1, 1, 0], vec![0; 3]].into());
        assert_eq!((confusion.count(0, 2), confusion.images(0), confusion.count(7, 0)), (2, 4, 0));
        assert_eq!(confusion.accuracy(), [Some(0.5), Some(0.5), None]);
        assert_eq!(confusion.taken().collect::<Vec<_>>().len(), 4);
        confusion.add(1, 2);
        assert_eq!((confusion.worst(5), confusion.worst(1)), (vec![1, 0], vec![1]));
        assert_eq!(Confusion::from(vec![vec![], vec![1]]).classes(), 0);
    }

    #[test]
    fn few_classes_are_written_as_rows_and_many_by_what_happened() {
        let read = |text: &str| serde_json::from_str::<Confusion>(text).expect("it is read");
        let written = |confusion: &Confusion| serde_json::to_string(confusion).expect("JSON");
        let few = Confusion::from(vec![vec![2, 1], vec![0, 3]]);
        assert_eq!(written(&few), "[[2,1],[0,3]]");
        assert_eq!(read("[[2,1],[0,3]]"), few);
        let mut edge = Confusion::new(FEW_CLASSES);
        edge.add(255, 0);
        assert!(written(&edge).starts_with("[[0,0,"));
        assert_eq!(read(&written(&edge)), edge);
        let mut many = Confusion::new(1_000);
        many.add(999, 3);
        many.add(999, 3);
        many.add(5, 5);
        assert_eq!(written(&many), r#"{"classes":1000,"taken":[[5,5,1],[999,3,2]]}"#);
        assert_eq!(read(&written(&many)), many);
        for damaged in [
            r#"{"classes":1000,"taken":[[5,1000,1]]}"#,
            r#"{"classes":1000000000000,"taken":[[5,7,1]]}"#,
        ] {
            assert_eq!(read(damaged).classes(), 0, "{damaged}");
        }
    }
}
