import TensorCore

/// What an integer that a file states may be. Every integer from a file passes `integer(in:)`, with one of these or with
/// a range that is closer still, before anything is computed with it: no sum or product of two such numbers overflows,
/// but for `anything`, which is for showing alone.
extension ClosedRange<Int> {
    /// Extents, layers, heads, positions: at least one.
    package static var sizes: Self { 1...Int(Int32.max) }
    /// The same, and none.
    package static var sizesOrNone: Self { 0...Int(Int32.max) }
    /// Ids of tokens, which are kept in 32 bits.
    package static var tokenIDs: Self { 0...Int(Int32.max) - 1 }
    /// Optimizer steps, epochs and places in a run's data.
    package static var steps: Self { 0...Int(Int32.max) }
    /// Settings, which have checks of their own behind this one.
    package static var settings: Self { -Int(Int32.max)...Int(Int32.max) }
    /// Counts of tokens over all of a training set: what a double holds exactly.
    package static var counts: Self { 0...1 << 53 }
    /// Bytes of a file or of all files of a model.
    package static var byteCounts: Self { 0...1 << 53 }
    /// Any integer, to be shown or compared and not computed with.
    package static var anything: Self { Int.min...Int.max }
}

extension JSONValue {
    /// The number, where this is an integer in `range`; `2.0` and `2e0` count.
    package func integer(in range: ClosedRange<Int>) -> Int? { intValue.flatMap { range.contains($0) ? $0 : nil } }
}

extension GGUFValue {
    /// The number, where this is an integer in `range`.
    package func integer(in range: ClosedRange<Int>) -> Int? { intValue.flatMap { range.contains($0) ? $0 : nil } }

    /// The numbers, where this is an array of integers that all lie in `range` (of any type but UINT64). An array from a
    /// file may be long: look at `elementCount` first.
    package func integers(in range: ClosedRange<Int>) -> [Int]? {
        guard case .array(let values) = self else { return nil }
        return values.integers(in: range)
    }
}
