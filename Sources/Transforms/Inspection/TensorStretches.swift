import CKernels
import CheckpointIO

/// A stretch of one tensor, small enough for many to keep all threads busy.
struct TensorStretch {
    /// The tensor's place in the list.
    let tensor: Int
    /// Its elements, whole groups of the encoding.
    let elements: Range<Int>

    /// Stored bytes of a stretch, about.
    private static let byteCount = 4 << 20

    /// The stretches of all tensors, in order. `unit` gives the number of elements of which each stretch of a tensor
    /// must hold whole multiples (rows, for instance); nil leaves a tensor out.
    static func cut(_ records: [TensorRecord], unit: (Int) -> Int?) -> [TensorStretch] {
        var stretches: [TensorStretch] = []
        for (tensor, record) in records.enumerated() {
            guard let unit = unit(tensor) else { continue }
            let count = record.elementCount
            // Of the whole tensor, so that one of few large units is not cut into more stretches than it has.
            let parts = max(1, record.byteCount / byteCount)
            let (units, rest) = count.quotientAndRemainder(dividingBy: max(1, unit))
            precondition(rest == 0, "a tensor of whole units")
            var begin = 0
            for part in 1...parts {
                let (step, extra) = units.quotientAndRemainder(dividingBy: parts)
                let end = (step * part + extra * part / parts) * unit
                if end > begin { stretches.append(TensorStretch(tensor: tensor, elements: begin..<end)) }
                begin = end
            }
        }
        return stretches
    }
}

extension TensorRecord {
    /// Where the elements of a stretch lie in the tensor's bytes; their bounds are bounds of groups.
    func bytes(of elements: Range<Int>) -> Range<Int> {
        let group = encoding.group
        return elements.lowerBound / group.elements * group.bytes..<elements.upperBound / group.elements * group.bytes
    }
}

/// Memory of one thread for numbers on their way from a file into a kernel: they stay in the cache.
final class DecodingBuffer {
    /// Numbers that it holds: whole groups of every encoding.
    static let capacity = 4096

    private let floats = UnsafeMutableBufferPointer<Float>.allocate(capacity: capacity)
    private let doubles = UnsafeMutableBufferPointer<Double>.allocate(capacity: capacity)

    deinit {
        floats.deallocate()
        doubles.deallocate()
    }

    /// The numbers that `bytes` (whole groups, at most `capacity` elements) holds, as floats.
    func floats(_ bytes: UnsafeRawBufferPointer, _ encoding: TensorEncoding) -> UnsafeBufferPointer<Float> {
        let count = bytes.count / encoding.group.bytes * encoding.group.elements
        encoding.decode(bytes, into: UnsafeMutableBufferPointer(rebasing: floats[..<count]))
        return UnsafeBufferPointer(rebasing: floats[..<count])
    }

    /// The numbers that `bytes` holds as doubles, which keep whatever is no 64-bit integer.
    func doubles(_ bytes: UnsafeRawBufferPointer, _ encoding: TensorEncoding) -> UnsafeBufferPointer<Double> {
        let count = bytes.count / encoding.group.bytes * encoding.group.elements
        let target = UnsafeMutableBufferPointer(rebasing: doubles[..<count])
        if case .block = encoding {
            for (index, value) in floats(bytes, encoding).enumerated() { target[index] = Double(value) }
        } else {
            encoding.decodeNumbers(bytes, into: target)
        }
        return UnsafeBufferPointer(target)
    }
}
