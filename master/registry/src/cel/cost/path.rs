//! Where the value of an expression is within `self`: `self`, `list`, `@items`, `name`.
//!
//! Go's `append` writes into memory that other slices see, where there is room; cel-go builds its paths with it. Of two
//! fields of a loop's variable the second therefore may take the place of the first, and estimates follow.

use std::cell::RefCell;
use std::rc::Rc;

/// A slice of steps in memory that others may share.
#[derive(Clone, Debug)]
pub(super) struct Path {
    memory: Rc<RefCell<Vec<Rc<str>>>>,
    room: usize,
    length: usize,
}

impl Path {
    /// A path of one step.
    pub(super) fn of(step: &str) -> Self {
        Self { memory: Rc::new(RefCell::new(vec![step.into()])), room: 1, length: 1 }
    }

    /// One step further; without a path, one of this step alone.
    pub(super) fn further(path: Option<&Self>, step: &str) -> Self {
        let Some(path) = path else { return Self::of(step) };
        let length = path.length + 1;
        if length > path.room {
            let mut steps = path.memory.borrow()[..path.length].to_vec();
            steps.push(step.into());
            return Self { memory: Rc::new(RefCell::new(steps)), room: 2 * path.room, length };
        }
        let mut memory = path.memory.borrow_mut();
        match memory.get_mut(path.length) {
            Some(taken) => *taken = step.into(),
            None => memory.push(step.into()),
        }
        drop(memory);
        Self { memory: path.memory.clone(), room: path.room, length }
    }

    /// The steps, of which the first names a variable.
    pub(super) fn steps(&self) -> Vec<Rc<str>> {
        self.memory.borrow()[..self.length].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &Path) -> String {
        path.steps().join(".")
    }

    #[test]
    fn a_step_takes_the_place_of_another_where_there_is_room() {
        let list = Path::further(Some(&Path::of("self")), "list");
        let item = Path::further(Some(&list), "@items");
        let first = Path::further(Some(&item), "first");
        assert_eq!(shown(&first), "self.list.@items.first");
        let second = Path::further(Some(&item), "second");
        assert_eq!(shown(&first), "self.list.@items.second");
        assert_eq!(shown(&second), shown(&first));
        let (deep, deeper) = (Path::further(Some(&first), "a"), Path::further(Some(&first), "b"));
        assert_eq!(shown(&deep), "self.list.@items.second.a");
        assert_eq!(shown(&deeper), "self.list.@items.second.b");
    }
}
