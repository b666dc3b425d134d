import TensorCore

/// The checked contents of a `model.safetensors.index.json`: which tensor lies in which shard.
package struct ShardIndex {
    /// The name of an index file.
    package static let fileName = "model.safetensors.index.json"
    /// Far above the index of the largest models, which name each expert's tensors and have some 10 MB.
    private static let byteLimit = 64 << 20

    /// What the names of files say that are one of several: `-00002-of-00003` for the one at `index`, from 0 on.
    package static func number(_ index: Int, of count: Int) -> String {
        func fiveDigits(_ number: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, 5 - text.count)) + text
        }
        return "-\(fiveDigits(index + 1))-of-\(fiveDigits(count))"
    }

    /// The text of an index: which file each tensor lies in, and the bytes of all of them.
    package static func text(files: [(name: String, tensors: [String])], byteCount: Int) -> String {
        var map = JSONObject()
        for file in files { for tensor in file.tensors { map[tensor] = .string(file.name) } }
        let index: JSONValue = .object([
            "metadata": .object(["total_size": .integer(byteCount)]), "weight_map": .object(map),
        ])
        return index.text(indent: 2) + "\n"
    }

    /// The index file, for messages.
    let path: String
    /// Tensor and shard in the file's order.
    let entries: [(tensor: String, shard: String)]
    /// The shards' names, each once, sorted.
    let shards: [String]

    /// Reads and checks an index; shard names that could lead out of its directory are refused.
    init(path: String) throws(CheckpointError) {
        let bytes = try readSmallFile(path, limit: Self.byteLimit)
        let value: JSONValue
        do {
            value = try JSONValue.parse(bytes)
        } catch {
            throw .malformed(file: path, problem: "\(error)")
        }
        guard let map = value["weight_map"]?.objectValue else {
            throw .malformed(file: path, problem: "has no 'weight_map' object")
        }
        guard map.count > 0 else { throw .malformed(file: path, problem: "its 'weight_map' is empty") }
        var entries: [(tensor: String, shard: String)] = []
        for (tensor, value) in map.members {
            guard let shard = value.stringValue else {
                throw .malformed(file: path, problem: "'weight_map' names no file for tensor '\(tensor)'")
            }
            let isPlainName =
                !shard.isEmpty && shard != "." && shard != ".."
                && !shard.utf8.contains { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") || $0 == 0 }
            guard isPlainName else {
                throw .malformed(
                    file: path,
                    problem: "'weight_map' sends tensor '\(tensor)' to '\(shard)', which is not a plain file name")
            }
            entries.append((tensor, shard))
        }
        self.path = path
        self.entries = entries
        shards = NameSet(entries.map(\.shard)).sorted()
    }
}
