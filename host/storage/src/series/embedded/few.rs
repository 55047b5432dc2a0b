//! A list that is mostly empty or of one: of each of a hundred thousand series one chunk is known, and one run is in memory.

use std::ops::Deref;

/// As a `Vec`, without an allocation for one item.
#[derive(Debug, Default)]
pub(super) enum Few<T> {
    #[default]
    None,
    One(T),
    /// Boxed, so that the others are small.
    #[expect(clippy::box_collection, reason = "a list of two words in each series")]
    Many(Box<Vec<T>>),
}

impl<T> Deref for Few<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }
}

impl<T> Few<T> {
    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::None => None,
            Self::One(item) => Some(item),
            Self::Many(items) => items.last_mut(),
        }
    }

    pub(super) fn push(&mut self, item: T) {
        self.insert(self.len(), item);
    }

    /// Before the item at `at`; at the end if there are fewer.
    pub(super) fn insert(&mut self, at: usize, item: T) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(item),
            Self::One(first) => {
                Self::Many(Box::new(if at == 0 { vec![item, first] } else { vec![first, item] }))
            }
            Self::Many(mut items) => {
                items.insert(at.min(items.len()), item);
                Self::Many(items)
            }
        };
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        *self = match std::mem::take(self) {
            Self::One(item) if !keep(&item) => Self::None,
            Self::Many(mut items) => {
                items.retain(keep);
                match items.len() {
                    0 => Self::None,
                    1 => items.pop().map_or(Self::None, Self::One),
                    _ => Self::Many(items),
                }
            }
            other => other,
        };
    }

    /// All items; none stay.
    pub(super) fn take(&mut self) -> Vec<T> {
        match std::mem::take(self) {
            Self::None => Vec::new(),
            Self::One(item) => vec![item],
            Self::Many(items) => *items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_vec(steps in prop::collection::vec((0_u8..4, 0_usize..5, 0_u32..8), 0..40)) {
            let (mut few, mut vec) = (Few::default(), Vec::new());
            for (step, at, item) in steps {
                match step {
                    0 => {
                        few.insert(at, item);
                        vec.insert(at.min(vec.len()), item);
                    }
                    1 => {
                        few.push(item);
                        vec.push(item);
                    }
                    2 => {
                        few.retain(|i| *i != item);
                        vec.retain(|i| *i != item);
                    }
                    _ => prop_assert_eq!(few.last_mut(), vec.last_mut()),
                }
                prop_assert_eq!(&*few, vec.as_slice());
                prop_assert_eq!(matches!(few, Few::Many(_)), vec.len() > 1);
            }
            prop_assert_eq!(few.take(), vec);
            prop_assert!(few.is_empty());
        }
    }

    #[test]
    fn it_is_two_words() {
        assert_eq!(size_of::<Few<std::sync::Arc<u64>>>(), 2 * size_of::<usize>());
    }
}
