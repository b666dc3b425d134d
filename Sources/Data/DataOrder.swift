import TensorCore

/// The order in which training meets the examples: in every epoch each example once, shuffled by the seed.
///
/// The order of epoch e is a pure function of the seed, e and the number of examples, so a run that is resumed at a
/// position goes on exactly as one that never stopped.
package struct DataOrder: Sendable {
    /// A place in the order.
    package struct Position: Sendable, Equatable {
        /// The epoch, from 0.
        package var epoch: Int
        /// How many examples of the epoch have been met; less than there are.
        package var index: Int

        /// A place; the start without arguments.
        package init(epoch: Int = 0, index: Int = 0) {
            self.epoch = epoch
            self.index = index
        }
    }

    /// How many examples there are; at least one.
    package let count: Int
    /// The seed of the shuffling; nil for the order of the file.
    package let seed: UInt64?
    /// The place of the example that comes next.
    package private(set) var position: Position
    private var order: [Int]

    /// The order of `count` examples from `position` on; nil where the position is none of this order, as after the
    /// data has changed.
    ///
    /// - Precondition: `count` is positive.
    package init?(count: Int, seed: UInt64?, position: Position = Position()) {
        precondition(count > 0, "an order needs examples")
        guard position.epoch >= 0, (0..<count).contains(position.index) else { return nil }
        self.count = count
        self.seed = seed
        self.position = position
        order = Self.permutation(of: count, seed: seed, epoch: position.epoch)
    }

    /// How many examples the current epoch still has; never 0.
    package var remainingInEpoch: Int { count - position.index }

    /// The index of the example that comes next; after the last of an epoch comes the first of the next one.
    package mutating func next() -> Int {
        let index = order[position.index]
        position.index += 1
        if position.index == count {
            position = Position(epoch: position.epoch + 1)
            order = Self.permutation(of: count, seed: seed, epoch: position.epoch)
        }
        return index
    }

    /// The indices of the next `wanted` examples of the current epoch, fewer at its end.
    package mutating func nextInEpoch(atMost wanted: Int) -> [Int] {
        (0..<min(wanted, remainingInEpoch)).map { _ in next() }
    }

    private static func permutation(of count: Int, seed: UInt64?, epoch: Int) -> [Int] {
        guard let seed else { return Array(0..<count) }
        var stream = RandomStream(seed: seed).forked("data order").forked(UInt64(epoch))
        return stream.permutation(of: count)
    }
}
