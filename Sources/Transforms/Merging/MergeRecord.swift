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

    /// One object for each adapter that was merged before, oldest first.
    package private(set) var merges: [JSONValue]
    /// Those of this merge.
    private var added: [Added] = []

    /// An adapter of this merge. Its modules, of which there may be many thousand, become JSON as they are written.
    private struct Added: Sendable {
        let head: JSONObject
        let modules: [MergePlan.Module]
        let outcomes: [MergeReport.Module]?

        /// - Parameter isPlan: whether what was measured is left out.
        func write(into out: inout String, indent: Int?, isPlan: Bool) {
            let members = head.members.filter { !isPlan || !MergeRecord.measuredKeys.contains($0.key) }
            JSONValue.writeList(Array(0...members.count), "{", "}", into: &out, indent: indent, depth: 2) {
                place, out in
                guard place == members.count else {
                    JSONValue.writeString(members[place].key, into: &out)
                    out += ": "
                    return members[place].value.write(into: &out, indent: indent, depth: 3)
                }
                out += "\"modules\": "
                JSONValue.writeList(Array(modules.indices), "[", "]", into: &out, indent: indent, depth: 3) {
                    index, out in
                    module(index, isPlan).write(into: &out, indent: indent, depth: 4)
                }
            }
        }

        private func module(_ index: Int, _ isPlan: Bool) -> JSONValue {
            let module = modules[index]
            var object: JSONObject = [
                "module": .string(module.module), "factor": .real(module.factor),
                "expected_error": .real(module.expectedError),
            ]
            if !isPlan, let outcome = outcomes?[index].outcome {
                object["changed"] = .integer(outcome.changedCount)
                object["weights"] = .integer(outcome.weightCount)
            }
            return .object(object)
        }
    }

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
        added.append(Added(head: merge, modules: part.modules, outcomes: report?.modules))
    }

    /// Whether there is no merge.
    package var isEmpty: Bool { merges.isEmpty && added.isEmpty }

    /// - Parameter isPlan: whether what was measured is left out.
    private func text(indent: Int?, isPlan: Bool) -> String {
        var out = ""
        JSONValue.writeList([false, true], "{", "}", into: &out, indent: indent, depth: 0) { isList, out in
            guard isList else {
                out += "\"format\": \(Self.format)"
                return
            }
            out += "\"merges\": "
            let places = Array(0..<merges.count + added.count)
            JSONValue.writeList(places, "[", "]", into: &out, indent: indent, depth: 1) { place, out in
                if place < merges.count {
                    let merge = isPlan ? Self.planned(merges[place]) : merges[place]
                    merge.write(into: &out, indent: indent, depth: 2)
                } else {
                    added[place - merges.count].write(into: &out, indent: indent, isPlan: isPlan)
                }
            }
        }
        return out
    }

    /// The file's text.
    var text: String { text(indent: 2, isPlan: false) + "\n" }

    /// The text for GGUF metadata, in one line.
    var metadataText: String { text(indent: nil, isPlan: true) }

    /// What a merge and its modules have that was measured.
    private static let measuredKeys: Set = ["largest_change", "changed", "weights"]

    /// A merge of a record that was read, without what was measured when it was written.
    private static func planned(_ merge: JSONValue) -> JSONValue {
        guard case .object(var members) = merge else { return merge }
        for key in measuredKeys { members[key] = nil }
        if let modules = members["modules"]?.arrayValue { members["modules"] = .array(modules.map(planned)) }
        return .object(members)
    }
}
