//! The memory of a wheel: nodes in chunks, named by number, linked by number.
//!
//! Chunks instead of one vector, because a vector that doubles would copy hundreds of
//! megabytes at once when it holds ten million nodes, and keep up to twice the memory it needs.

/// Stands for "no node" in a link.
pub(crate) const NIL: u32 = u32::MAX;

/// A node that holds a value but is in no list.
pub(super) const PARKED: u16 = 2046;
/// A node that holds no value.
const VACANT: u16 = 2047;

const CHUNK_BITS: u32 = 14;
const CHUNK_NODES: usize = 1 << CHUNK_BITS;
const CHUNK_MASK: u32 = (1 << CHUNK_BITS) - 1;

const PLACE_BITS: u32 = 11;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
/// A slot that was used this often is never used again, so that no stale handle can match it.
const GENERATION_MAX: u32 = (1 << (32 - PLACE_BITS)) - 1;

#[derive(Debug)]
pub(super) struct Node<T> {
    pub(super) at: u64,
    pub(super) next: u32,
    pub(super) prev: u32,
    /// Which list the node is in (low 11 bits), and how often its slot was freed.
    tag: u32,
    value: Option<T>,
}

impl<T> Node<T> {
    pub(super) fn place(&self) -> u16 {
        (self.tag & PLACE_MASK) as u16
    }

    pub(super) fn set_place(&mut self, place: u16) {
        self.tag = (self.tag & !PLACE_MASK) | u32::from(place);
    }

    fn generation(&self) -> u32 {
        self.tag >> PLACE_BITS
    }
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Node<T>>>,
    free: u32,
    len: u32,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: NIL, len: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn node(&self, slot: u32) -> &Node<T> {
        &self.chunks[(slot >> CHUNK_BITS) as usize][(slot & CHUNK_MASK) as usize]
    }

    pub(super) fn node_mut(&mut self, slot: u32) -> &mut Node<T> {
        &mut self.chunks[(slot >> CHUNK_BITS) as usize][(slot & CHUNK_MASK) as usize]
    }

    pub(super) fn value(&self, slot: u32) -> &T {
        self.node(slot).value.as_ref().expect("an occupied slot holds a value")
    }

    pub(super) fn value_mut(&mut self, slot: u32) -> &mut T {
        self.node_mut(slot).value.as_mut().expect("an occupied slot holds a value")
    }

    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.node(slot).generation()
    }

    /// Whether the slot is occupied by what it held when it had this generation.
    pub(super) fn holds(&self, slot: u32, generation: u32) -> bool {
        let chunk = self.chunks.get((slot >> CHUNK_BITS) as usize);
        let node = chunk.and_then(|chunk| chunk.get((slot & CHUNK_MASK) as usize));
        node.is_some_and(|node| node.place() != VACANT && node.generation() == generation)
    }

    /// A parked node of this value.
    pub(super) fn insert(&mut self, at: u64, value: T) -> u32 {
        self.len += 1;
        if self.free != NIL {
            let slot = self.free;
            let node = self.node_mut(slot);
            let next_free = node.next;
            node.at = at;
            node.set_place(PARKED);
            node.value = Some(value);
            self.free = next_free;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_NODES) {
            // Only the first chunk grows by doubling: a small wheel stays small.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK_NODES };
            self.chunks.push(Vec::with_capacity(room));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let slot = u32::try_from((number << CHUNK_BITS) + chunk.len()).expect("fewer than 2^32 entries");
        assert!(slot != NIL, "fewer than 2^32 - 1 entries");
        chunk.push(Node { at, next: NIL, prev: NIL, tag: u32::from(PARKED), value: Some(value) });
        slot
    }

    /// Frees a node that is in no list.
    pub(super) fn remove(&mut self, slot: u32) -> T {
        let free = self.free;
        let node = self.node_mut(slot);
        let value = node.value.take().expect("an occupied slot holds a value");
        debug_assert_eq!(node.place(), PARKED, "a node leaves its list before it is freed");
        let generation = node.generation();
        if generation < GENERATION_MAX {
            node.tag = (generation + 1) << PLACE_BITS;
            node.next = free;
            self.free = slot;
        }
        self.node_mut(slot).set_place(VACANT);
        self.len -= 1;
        value
    }

    /// Every occupied slot, in the order of their numbers.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(self.chunks.iter().flatten()).filter(|(_, node)| node.place() != VACANT).map(|(slot, _)| slot)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let nodes: usize = self.chunks.iter().map(Vec::capacity).sum();
        nodes * size_of::<Node<T>>() + self.chunks.capacity() * size_of::<Vec<Node<T>>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_ran_out_of_generations_is_not_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert(1, 0u32);
        for n in 0..GENERATION_MAX {
            slab.remove(first);
            assert_eq!(slab.insert(1, n), first);
        }
        assert_eq!(slab.generation(first), GENERATION_MAX);
        slab.remove(first);
        assert!(!slab.holds(first, GENERATION_MAX));
        assert_ne!(slab.insert(1, 7), first);
        assert_eq!(slab.len(), 1);
    }
}
