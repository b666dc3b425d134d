import Adapters
import CheckpointIO
import TensorCore

/// The file `tspeft_merge.json` of a merged checkpoint, or the text under `tspeft.merges` in the metadata of a merged
/// GGUF file: which adapters are in it, and how they got there.
///
/// ``` {"format": 1, "merges": [{"tspeft": "<version>", "adapter": {"path", "method", "digest"}, "weight": 1, "base":
/// {"path", "digest"}, "gates": "scale", "statistics": "<token set>", "modules": [{"module", "factor",
/// "expected_error"}, ...]}, ...]} ```
///
/// In a GGUF file, whose metadata are written before the tensors, the numbers of changed weights are left out. Adapters
/// that were merged together have an object each, with the same base; what their modules say of changed
/// weights is then of their sum.
package struct MergeRecord: Sendable {
    /// The file's name.
    package static let fileName = "tspeft_merge.json"
    /// The key of the same text in GGUF metadata.
    package static let metadataKey = "tspeft.merges"

    private static let format = 1
    private static let fileLimit = 64 << 20

    /// One object for each adapter, oldest first.
    package private(set) var merges: [JSONValue]

    /// The record in a base's directory; without one, a record of no merges.
    package static func read(inDirectory directory: String) throws -> MergeRecord {
        let path = joinedPath(directory, fileName)
        guard try checkedPathKind(path) == .regularFile else { return MergeRecord(merges: []) }
        let bytes = try readSmallFile(path, limit: fileLimit)
        guard let record = MergeRecord(text: bytes) else {
            throw CheckpointError.malformed(file: path, problem: "is not a record of merges")
        }
        return record
    }

    /// The record of a checkpoint, wherever it has it; without one, a record of no merges.
    package static func read(of checkpoint: Checkpoint) throws -> MergeRecord {
        if case .huggingFace(let directory) = checkpoint.layout { return try read(inDirectory: directory) }
        guard let value = checkpoint.metadata?[metadataKey] else { return MergeRecord(merges: []) }
        guard let text = value.stringValue, let record = MergeRecord(text: Array(text.utf8)) else {
            throw CheckpointError.malformed(
                file: checkpoint.path, problem: "'\(metadataKey)' is not a record of merges")
        }
        return record
    }

    private init?(text: [UInt8]) {
        guard let json = try? JSONValue.parse(text), let merges = json["merges"]?.arrayValue else { return nil }
        self.merges = merges
    }

    private init(merges: [JSONValue]) { self.merges = merges }

    /// A record of no merges.
    init() { self.init(merges: []) }

    /// Whether an adapter of this digest is in the checkpoint already.
    func contains(digest: String) -> Bool {
        merges.contains { $0["adapter"]?["digest"]?.stringValue == digest }
    }

    /// Whether an adapter, whose digest is `digest`, is in the checkpoint already. Records of versions before 2.2 have its
    /// former digest.
    func contains(_ adapter: AdapterDirectory, digest: String) -> Bool {
        if contains(digest: digest) { return true }
        let hasFormer = merges.contains { merge in
            merge["adapter"]?["digest"]?.stringValue?.hasPrefix(AdapterDirectory.digestMark) == false
        }
        return hasFormer && contains(digest: adapter.formerDigest)
    }

    /// Adds the merge of an adapter; `report` is what came of it, where that is known already.
    mutating func add(
        _ part: MergePlan.Part, report: MergeReport.Part? = nil, digest: String, basePath: String, baseDigest: String
    ) {
        let modules = part.modules.enumerated().map { index, module -> JSONValue in
            var object: JSONObject = [
                "module": .string(module.module), "factor": .real(module.factor),
                "expected_error": .real(module.expectedError),
            ]
            if let outcome = report?.modules[index].outcome {
                object["changed"] = .integer(outcome.changedCount)
                object["weights"] = .integer(outcome.weightCount)
            }
            return .object(object)
        }
        var merge: JSONObject = [
            "tspeft": .string(ToolVersion.current),
            "adapter": .object([
                "path": .string(part.name), "method": .string(part.method), "digest": .string(digest),
            ]),
            "weight": .real(part.weight),
            "base": .object(["path": .string(basePath), "digest": .string(baseDigest)]),
            "gates": part.gates.map { .string($0.rawValue) } ?? .null,
            "statistics": part.source.map { .string($0) } ?? .null,
        ]
        if let report { merge["largest_change"] = .real(report.total.largestChange) }
        merge["modules"] = .array(modules)
        merges.append(.object(merge))
    }

    private var json: JSONValue { .object(["format": .integer(Self.format), "merges": .array(merges)]) }

    /// The file's text.
    var text: String { json.text(indent: 2) + "\n" }

    /// The text for GGUF metadata, in one line.
    var metadataText: String {
        JSONValue.object(["format": .integer(Self.format), "merges": .array(merges.map(Self.planned))]).text()
    }

    /// A merge without what was measured when it was written.
    private static func planned(_ merge: JSONValue) -> JSONValue {
        guard case .object(var members) = merge else { return merge }
        members["largest_change"] = nil
        if let modules = members["modules"]?.arrayValue {
            members["modules"] = .array(
                modules.map { module in
                    guard case .object(var members) = module else { return module }
                    members["changed"] = nil
                    members["weights"] = nil
                    return .object(members)
                })
        }
        return .object(members)
    }
}
