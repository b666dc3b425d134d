/// Models that are split over several GGUF files, the parts `NAME-00001-of-00003.gguf` and so on, as llama.cpp's
/// `gguf-split` and the Python package `gguf` write them.
///
/// Part 1 holds all metadata; the others hold only what every part says of itself: `split.no` (UINT16, from 0 on),
/// `split.count` (UINT16, the number of parts) and `split.tensors.count` (INT32, the tensors of all parts together).
/// Each part is a whole GGUF file, with an alignment of its own.
package enum GGUFSplit {
    static let numberKey = "split.no"
    static let countKey = "split.count"
    static let tensorCountKey = "split.tensors.count"
    /// What their keys begin with.
    private static let keyPrefix = "split."
    /// Parts that a model may have: what a UINT16 can count.
    package static let partLimit = Int(UInt16.max)

    /// The end of the name of part `part`, counted from 0, of `count`: such as `-00001-of-00003.gguf`.
    static func suffix(part: Int, of count: Int) -> String {
        ShardIndex.number(part, of: count) + ".gguf"
    }

    /// The path of part `part`, counted from 0, of `count`. `prefix` is the path without number and ending.
    package static func path(prefix: String, part: Int, of count: Int) -> String {
        prefix + suffix(part: part, of: count)
    }

    /// Distributes tensors, in their order, over as few parts as hold at most `byteLimit` bytes of data each, padding
    /// included; a tensor that is larger gets a part of its own. There is at least one part, and none is empty unless
    /// there are no tensors.
    ///
    /// Throws `badTensor` for an entry whose bytes cannot be counted (`file` is named then), `cannotCreate` for more
    /// than `partLimit` parts.
    package static func parts(
        of entries: [GGUFEntry], byteLimit: Int, alignment: Int = 32, file: String
    ) throws(CheckpointError) -> [[GGUFEntry]] {
        precondition(byteLimit > 0 && alignment > 0, "room for something")
        var parts: [[GGUFEntry]] = [[]]
        var size = 0
        for entry in entries {
            guard let bytes = entry.encoding.byteCount(shape: entry.shape) else {
                throw .badTensor(
                    file: file, tensor: entry.name, expected: "sizes must not overflow, and rows must be whole blocks",
                    found: "has the shape \(entry.shape) of \(entry.encoding)")
            }
            let (padded, overflow) = bytes.addingReportingOverflow((alignment - bytes % alignment) % alignment)
            let (next, isTooFar) = size.addingReportingOverflow(padded)
            if overflow || isTooFar || next > byteLimit, padded > 0, !parts[parts.count - 1].isEmpty {
                parts.append([entry])
                size = padded
            } else {
                parts[parts.count - 1].append(entry)
                size = next
            }
        }
        guard parts.count <= partLimit else {
            throw .cannotCreate(
                path: file, reason: "\(parts.count) parts are more than the \(partLimit) that GGUF can count")
        }
        return parts
    }

    /// The metadata of part `part`, counted from 0, of `count` (at least 2): of the first all of the model's, of the
    /// others only the alignment where the model states one, so that its data keep it; and what a part says of itself.
    ///
    /// - Parameters:
    ///   - metadata: the model's; what it says of another split is left out.
    ///   - tensorCount: the tensors of all parts.
    package static func metadata(
        _ metadata: [(key: String, value: GGUFEncodedValue)], part: Int, of count: Int, tensorCount: Int
    ) -> [(key: String, value: GGUFEncodedValue)] {
        precondition((0..<count).contains(part) && count <= partLimit, "no part \(part) of \(count)")
        let kept = part == 0 ? joined(metadata) : metadata.filter { $0.key == GGUFHeader.alignmentKey }
        return kept + [
            (numberKey, .uint16(UInt16(part))), (countKey, .uint16(UInt16(count))),
            (tensorCountKey, .int32(Int32(tensorCount))),
        ]
    }

    /// The metadata of a model in one file: without what it says of a split.
    package static func joined(
        _ metadata: [(key: String, value: GGUFEncodedValue)]
    ) -> [(key: String, value: GGUFEncodedValue)] {
        metadata.filter { !$0.key.hasPrefix(keyPrefix) }
    }
}
