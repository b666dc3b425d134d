import CheckpointIO
import TensorCore

/// The log of a training run, `log.jsonl`.
struct RunLog {
    /// Its path.
    let path: String

    /// The last event of each of `kinds` that there is. Throws `CheckpointError` for a log that cannot be read.
    func lastEvents(_ kinds: Set<String>) throws -> [String: JSONValue] {
        var found: [String: JSONValue] = [:]
        try visitFromEnd { event in
            if let kind = event["event"]?.stringValue, kinds.contains(kind), found[kind] == nil { found[kind] = event }
            return found.count < kinds.count
        }
        return found
    }

    /// All lines up to `step`, in order; those of steps that were made twice, because a run went on from an older
    /// checkpoint, as they were made last. Lines that are no JSON are passed over.
    func lines(upTo step: Int) throws -> [JSONObject] {
        var lines: [(step: Int, line: JSONObject)] = []
        try MappedFile.open(path).withBytes { bytes in
            for text in bytes.split(separator: UInt8(ascii: "\n")) {
                guard case .object(let line)? = try? JSONValue.parse(text) else { continue }
                let own = line["step"]?.integer(in: .steps)
                if line["event"]?.stringValue == "step", let own {
                    while let last = lines.last, last.step >= own { lines.removeLast() }
                }
                lines.append((own ?? lines.last?.step ?? 0, line))
            }
        }
        return lines.filter { $0.step <= step }.map(\.line)
    }

    /// Hands events to `body`, the last first, until it returns false. Lines that are no JSON, such as one that a
    /// killed program left half written, are passed over.
    private func visitFromEnd(_ body: (JSONValue) -> Bool) throws {
        try MappedFile.open(path).withBytes { bytes in
            var end = bytes.count
            while end > 0 {
                let start = (bytes[..<end].lastIndex(of: UInt8(ascii: "\n")) ?? -1) + 1
                if let event = try? JSONValue.parse(Array(bytes[start..<end])), !body(event) { return }
                end = start - 1
            }
        }
    }
}
