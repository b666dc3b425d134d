import CKernels
import CheckpointIO
import Glibc
import Models
import TensorCore
import Threads

/// How the values of one tensor differ from another's of the same shape.
package struct TensorComparison: Sendable, Equatable {
    /// Elements whose values have other bits, once both are decoded.
    package private(set) var differing = 0
    /// Those of them of which one or both are NaN or infinite; they count in no other figure.
    package private(set) var incomparable = 0
    /// The largest |B - A|.
    package private(set) var largest = 0.0
    private var squares = 0.0
    private var reference = 0.0

    /// No difference.
    package init() {}

    init(_ difference: tspeft_difference) {
        differing = Int(difference.differing)
        incomparable = Int(difference.incomparable)
        largest = difference.largest
        squares = difference.squares
        reference = difference.reference
    }

    mutating func add(_ other: TensorComparison) {
        differing += other.differing
        incomparable += other.incomparable
        largest = max(largest, other.largest)
        squares += other.squares
        reference += other.reference
    }

    /// |B - A| / |A| in the Frobenius norm; 0 where nothing differs, infinite where A is all zeros and B is not.
    package var relative: Double { squares == 0 ? 0 : (squares / reference).squareRoot() }
}

/// Two tensors to compare: places in two sources.
package struct TensorPair: Sendable {
    /// The first, A.
    package let before: TensorRecord
    /// The second, B, of the same shape.
    package let after: TensorRecord
    /// How A and B hold the tensor.
    package let forms: (before: GGUFForm, after: GGUFForm)

    /// A pair; see the properties.
    package init(
        before: TensorRecord, after: TensorRecord, forms: (before: GGUFForm, after: GGUFForm) = (.same, .same)
    ) {
        self.before = before
        self.after = after
        self.forms = forms
    }

    fileprivate var isPermuted: Bool { forms.before != .same || forms.after != .same }
    /// Whether rows have to be put together before they can be compared.
    fileprivate var rebuildsRows: Bool {
        [forms.before, forms.after].contains { $0.columns.isPermuted || $0.values != .same }
    }

    /// Whether equal bytes would mean equal tensors.
    fileprivate var bytesTell: Bool { before.encoding == after.encoding && !isPermuted }

    /// Whether values can be compared: both are numbers, blocks of rows that are permuted are whole rows.
    package var hasNumbers: Bool {
        let encodings = [before.encoding, after.encoding]
        return encodings.allSatisfy { $0.isNumeric && (!isPermuted || rowWidth % $0.group.elements == 0) }
    }

    /// What became of a pair.
    package enum Outcome: Sendable, Equatable {
        /// The same bytes in the same encoding.
        case identical
        /// What differs; also nothing, where only encodings do.
        case compared(TensorComparison)
        /// Other bytes or encodings of types without numbers.
        case unreadable

        fileprivate var isCompared: Bool { if case .compared = self { true } else { false } }
    }

    /// Compares each pair, whose tensors have the same shape. Both files are read once, as streams, by all processors;
    /// stretches with equal bytes are not decoded.
    package static func compare(
        _ pairs: [TensorPair], before: any TensorSource, after: any TensorSource
    ) throws -> [Outcome] {
        let stretches = TensorStretch.cut(pairs.map(largerRecord)) { pairs[$0].unit }
        var parts = try compare(stretches, of: pairs, before: before, after: after, decodesEqualBytes: false)
        // |A| is that of the whole tensor: where some of it has changed, the rest is read too.
        let changed = Set(zip(stretches, parts).filter { $1.isCompared }.map(\.0.tensor))
        let equal = stretches.indices.filter { parts[$0] == .identical && changed.contains(stretches[$0].tensor) }
        let rest = try compare(
            equal.map { stretches[$0] }, of: pairs, before: before, after: after, decodesEqualBytes: true)
        for (place, part) in zip(equal, rest) { parts[place] = part }
        var outcomes = pairs.map { $0.bytesTell || $0.hasNumbers ? Outcome.identical : .unreadable }
        for (stretch, part) in zip(stretches, parts) {
            switch (outcomes[stretch.tensor], part) {
            case (.unreadable, _), (_, .identical): break
            case (.compared(var sum), .compared(let more)):
                sum.add(more)
                outcomes[stretch.tensor] = .compared(sum)
            default: outcomes[stretch.tensor] = part
            }
        }
        // Without a difference, other encodings or orders of rows are still no identity.
        for (place, pair) in pairs.enumerated() where outcomes[place] == .identical && !pair.bytesTell {
            outcomes[place] = .compared(TensorComparison())
        }
        return outcomes
    }

    private static func compare(
        _ stretches: [TensorStretch], of pairs: [TensorPair], before: any TensorSource, after: any TensorSource,
        decodesEqualBytes: Bool
    ) throws -> [Outcome] {
        try ResultSlots.collect(stretches.count, Outcome.identical) { slots in
            let threads = ThreadTeam.available
            let workers = (0..<threads).map { _ in ComparisonWorker(before, after, decodesEqualBytes) }
            try ThreadTeam(threads).takeItems(stretches.count) { item, thread in
                let stretch = stretches[item]
                slots.put(try workers[thread].compare(pairs[stretch.tensor], stretch.elements), at: item)
            }
        }
    }

    private static func largerRecord(_ pair: TensorPair) -> TensorRecord {
        pair.before.byteCount >= pair.after.byteCount ? pair.before : pair.after
    }

    /// Elements that are not taken apart: all where the order of rows differs, as they may lie anywhere in the tensor,
    /// else groups of both encodings.
    private var unit: Int {
        if isPermuted { return before.elementCount }
        return max(before.encoding.group.elements, after.encoding.group.elements)
    }

    fileprivate var rowWidth: Int { before.shape.first.map { $0 > 0 ? before.elementCount / $0 : 1 } ?? 1 }

    /// The stretches of stored elements that hold `elements`, in order, in A and in B.
    fileprivate func storedStretches(_ elements: Range<Int>) -> [(before: Range<Int>, after: Range<Int>)] {
        guard isPermuted else { return [(elements, elements)] }
        let width = rowWidth
        guard width > 0 else { return [] }
        return (elements.lowerBound / width..<elements.upperBound / width).map { row in
            let left = forms.before.rows.gguf(row) * width
            let right = forms.after.rows.gguf(row) * width
            return (left..<left + width, right..<right + width)
        }
    }
}

/// One thread of a comparison with its memory.
private final class ComparisonWorker {
    private let left = DecodingBuffer()
    private let right = DecodingBuffer()
    private let kernels = tspeft_statistics_at(tspeft_cpu_level())!.pointee
    private let before: any TensorSource
    private let after: any TensorSource
    private let decodesEqualBytes: Bool

    init(_ before: any TensorSource, _ after: any TensorSource, _ decodesEqualBytes: Bool) {
        self.before = before
        self.after = after
        self.decodesEqualBytes = decodesEqualBytes
    }

    func compare(_ pair: TensorPair, _ elements: Range<Int>) throws -> TensorPair.Outcome {
        try before.withBytes(pair.before.bytes(of: elements), of: pair.before) { a in
            try after.withBytes(pair.after.bytes(of: elements), of: pair.after) { b in
                compare(
                    pair, elements, Part(record: pair.before, bytes: a, first: elements.lowerBound),
                    Part(record: pair.after, bytes: b, first: elements.lowerBound))
            }
        }
    }

    /// Bytes of a tensor from element `first` on.
    private struct Part {
        let record: TensorRecord
        let bytes: UnsafeRawBufferPointer
        let first: Int

        func bytes(of elements: Range<Int>) -> UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(
                rebasing: bytes[record.bytes(of: elements.lowerBound - first..<elements.upperBound - first)])
        }
    }

    private func compare(_ pair: TensorPair, _ elements: Range<Int>, _ a: Part, _ b: Part) -> TensorPair.Outcome {
        if pair.bytesTell, !decodesEqualBytes {
            let (left, right) = (a.bytes(of: elements), b.bytes(of: elements))
            if left.isEmpty || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0 { return .identical }
        }
        guard pair.hasNumbers else { return .unreadable }
        var sum = TensorComparison()
        for (one, other) in pair.storedStretches(elements) {
            if pair.rebuildsRows {
                // One side's value is held against what the other's would be in its form: the way back has roundings.
                let x = row(a.bytes(of: one), pair.before.encoding, pair.forms.before, pair.forms.after.values)
                let y = row(b.bytes(of: other), pair.after.encoding, pair.forms.after, pair.forms.before.values)
                var difference = tspeft_difference()
                kernels.difference_f32(x, y, x.count, &difference)
                sum.add(TensorComparison(difference))
                continue
            }
            for begin in stride(from: 0, to: one.count, by: DecodingBuffer.capacity) {
                let end = min(begin + DecodingBuffer.capacity, one.count)
                sum.add(
                    difference(
                        a.bytes(of: one.lowerBound + begin..<one.lowerBound + end), pair.before.encoding,
                        b.bytes(of: other.lowerBound + begin..<other.lowerBound + end), pair.after.encoding))
            }
        }
        return .compared(sum)
    }

    /// A stored row with its columns in order, each value as `values` makes it.
    private func row(
        _ bytes: UnsafeRawBufferPointer, _ encoding: TensorEncoding, _ form: GGUFForm, _ values: GGUFValueForm
    ) -> [Float] {
        let group = encoding.group
        var stored: [Float] = []
        let unit = DecodingBuffer.capacity / group.elements * group.bytes
        for start in stride(from: 0, to: bytes.count, by: unit) {
            let part = UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + unit, bytes.count)])
            if encoding.fitsFloat {
                stored += left.floats(part, encoding)
            } else {
                stored += left.doubles(part, encoding).lazy.map { Float($0) }
            }
        }
        return stored.indices.map { values.gguf(stored[form.columns.gguf($0)]) }
    }

    private func difference(
        _ a: UnsafeRawBufferPointer, _ before: TensorEncoding, _ b: UnsafeRawBufferPointer, _ after: TensorEncoding
    ) -> TensorComparison {
        var difference = tspeft_difference()
        if before.fitsFloat, after.fitsFloat {
            let (x, y) = (left.floats(a, before), right.floats(b, after))
            kernels.difference_f32(x.baseAddress, y.baseAddress, x.count, &difference)
        } else {
            let (x, y) = (left.doubles(a, before), right.doubles(b, after))
            kernels.difference_f64(x.baseAddress, y.baseAddress, x.count, &difference)
        }
        return TensorComparison(difference)
    }
}
