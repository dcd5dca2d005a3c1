//! What stages of a run have opened and share, such as a data set that two of them read.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;

type Kept = HashMap<(TypeId, String), Weak<dyn Any + Send + Sync>>;

/// Things by their type and a key that says what they were opened from. Each is there as long as a
/// stage holds it, so that nothing outlives the runs that use it.
#[derive(Clone, Default)]
pub struct Opened(Arc<Mutex<Kept>>);

impl Opened {
    /// What was opened with this key, or what `open` opens now. Others that ask meanwhile wait, as
    /// opening it twice is what this is there to avoid.
    ///
    /// # Errors
    /// That of `open`, after which nothing is kept.
    pub fn get_or_open<T: Any + Send + Sync>(
        &self,
        key: &str,
        open: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (TypeId::of::<T>(), key.to_owned());
        let known = kept.get(&place).and_then(Weak::upgrade).and_then(|any| any.downcast().ok());
        if let Some(known) = known {
            return Ok(known);
        }
        kept.retain(|_, one| one.strong_count() > 0);
        let opened = Arc::new(open()?);
        let any: Arc<dyn Any + Send + Sync> = opened.clone();
        kept.insert(place, Arc::downgrade(&any));
        Ok(opened)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened")
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn what_is_held_is_shared_and_what_nobody_holds_is_opened_again() {
        let opened = Opened::default();
        let mut times = 0;
        let mut open = |key: &str| {
            let open = || {
                times += 1;
                Ok(format!("{key} {times}"))
            };
            opened.clone().get_or_open(key, open).expect("it opens")
        };
        let first = open("photos");
        assert!(Arc::ptr_eq(&first, &open("photos")));
        assert_eq!((&**first, &**open("others")), ("photos 1", "others 2"));
        drop(first);
        assert_eq!(*open("photos"), "photos 3");
        // Another type is something else, and what fails is not kept.
        let number = opened.get_or_open("photos", || Ok(7_u32)).expect("it opens");
        assert_eq!(*number, 7);
        assert!(opened.get_or_open::<u8>("x", || bail!("torn")).is_err());
        assert_eq!(*opened.get_or_open("x", || Ok(3_u8)).expect("it opens"), 3);
    }
}
