import Adapters
import CheckpointIO
import TensorCore

/// The file `tspeft_merge.json` of a merged checkpoint: which adapters are in it, and how they got there.
///
/// ``` {"format": 1, "merges": [{"tspeft": "<version>", "adapter": {"path", "method", "digest"}, "weight": 1, "base":
/// {"path", "digest"}, "gates": "scale", "statistics": "<token set>", "modules": [{"module", "factor",
/// "expected_error"}, ...]}, ...]} ```
///
/// Adapters that were merged together have an object each, with the same base; what their modules say of changed
/// weights is then of their sum.
package struct MergeRecord: Sendable {
    /// The file's name.
    package static let fileName = "tspeft_merge.json"

    private static let format = 1
    private static let fileLimit = 64 << 20

    /// One object for each adapter, oldest first.
    package private(set) var merges: [JSONValue]

    /// The record in a base's directory; without one, a record of no merges.
    package static func read(inDirectory directory: String) throws -> MergeRecord {
        let path = joinedPath(directory, fileName)
        guard pathKind(path) == .regularFile else { return MergeRecord(merges: []) }
        let bytes = try readSmallFile(path, limit: fileLimit)
        guard let json = try? JSONValue.parse(bytes), let merges = json["merges"]?.arrayValue else {
            throw CheckpointError.malformed(file: path, problem: "is not a record of merges")
        }
        return MergeRecord(merges: merges)
    }

    /// Whether an adapter of this digest is in the checkpoint already.
    func contains(digest: String) -> Bool {
        merges.contains { $0["adapter"]?["digest"]?.stringValue == digest }
    }

    /// Adds the merge of an adapter.
    mutating func add(_ part: MergeReport.Part, digest: String, basePath: String, baseDigest: String) {
        let modules = part.modules.map { module -> JSONValue in
            .object([
                "module": .string(module.plan.module),
                "factor": .real(module.plan.factor),
                "expected_error": .real(module.plan.expectedError),
                "changed": .integer(module.changedCount),
                "weights": .integer(module.weightCount),
            ])
        }
        merges.append(
            .object([
                "tspeft": .string(ToolVersion.current),
                "adapter": .object([
                    "path": .string(part.plan.name), "method": .string(part.plan.method), "digest": .string(digest),
                ]),
                "weight": .real(part.plan.weight),
                "base": .object(["path": .string(basePath), "digest": .string(baseDigest)]),
                "gates": part.plan.gates.map { .string($0.rawValue) } ?? .null,
                "statistics": part.plan.source.map { .string($0) } ?? .null,
                "largest_change": .real(part.total.largestChange),
                "modules": .array(modules),
            ]))
    }

    /// The file's text.
    var text: String {
        JSONValue.object(["format": .integer(Self.format), "merges": .array(merges)]).text(indent: 2) + "\n"
    }
}

extension AdapterDirectory {
    /// 16 hexadecimal digits that tell this adapter's tensors, factors and thresholds from others'; made to catch
    /// mistakes, not forgery.
    package var digest: String {
        var hash: UInt64 = 0
        func add(_ word: UInt64) { hash = RandomStream.mix(hash ^ word) }
        for tensor in allTensors {
            for byte in tensor.name.utf8 { add(UInt64(byte)) }
            for extent in tensor.shape { add(UInt64(extent)) }
            tensor.values.withUnsafeBufferPointer { values in
                for value in values { add(UInt64(value.bitPattern)) }
            }
        }
        for module in modules {
            add(UInt64(configuration.scaling(for: module).bitPattern))
            add(UInt64(threshold(module)?.bitPattern ?? .max))
        }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
