import Adapters
import CheckpointIO
import FuzzSupport
import Models
import TensorCore
import Transforms

/// The bytes as lines that name the tensors of a base and of an adapter: merged, if the one fits the other.
///
///     c {"model_type": "llama"}              config.json
///     b model.norm.weight 16 BF16            a tensor of the base: name, shape, type
///     f {"peft_type": "LORA", "r": 4}        adapter_config.json
///     a base_model.model.x.lora_A.weight 4,16 F32
@main
enum Fuzz {
    /// Elements of all tensors together.
    private static let elementLimit = 1 << 14

    static func main() {
        fuzz { start, count in
            let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
            return Fuzz.merge(text) ? 0 : -1
        }
    }

    /// Whether the text names tensors that can be made.
    private static func merge(_ text: String) -> Bool {
        var texts: [Character: String] = [:]
        var entries: [Character: [SafetensorsEntry]] = [:]
        var count = 0
        for line in text.split(separator: "\n") {
            guard let kind = line.first else { continue }
            let rest = line.dropFirst(2)
            if kind == "c" || kind == "f" {
                texts[kind] = String(rest)
            } else if let entry = entry(rest) {
                count += entry.shape.reduce(1, *)
                guard count <= elementLimit else { return false }
                entries[kind, default: []].append(entry)
            }
        }
        guard let base = file(entries["b"] ?? []), let adapter = file(entries["a"] ?? []) else { return false }
        let folder = placeBytes(base, as: "model.safetensors")
        _ = placeBytes(Array((texts["c"] ?? "{}").utf8), as: "config.json")
        _ = placeBytes(adapter, as: "adapter_model.safetensors")
        _ = placeBytes(Array((texts["f"] ?? "{}").utf8), as: "adapter_config.json")
        reading {
            let base = try ModelCheckpoint.open(folder)
            let adapter = try AdapterDirectory.read(folder, takingExtras: true)
            let account = try MergeAccount(of: adapter, in: base)
            precondition(account.adapterTensorCount == entries["a"]?.count, "tensors that nobody counts")
            let output = OutputTarget(folder + "/merged", replacing: true)
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: output, threadCount: 1)
            precondition(report.account == account, "another account than was said")
        }
        return true
    }

    /// A line's tensor; nil for one that cannot be made.
    private static func entry(_ line: Substring) -> SafetensorsEntry? {
        let parts = line.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count >= 3, let dtype = DType(rawValue: String(parts[parts.count - 1])) else { return nil }
        let shape = parts[parts.count - 2].split(separator: ",").map { Int($0) ?? -1 }
        guard shape.count < 6, shape.allSatisfy({ (0...1024).contains($0) }),
            shape.filter({ $0 > 0 }).reduce(1, { min($0 * $1, elementLimit + 1) }) <= elementLimit
        else { return nil }
        return SafetensorsEntry(name: parts.dropLast(2).joined(separator: " "), dtype: dtype, shape: shape)
    }

    /// The bytes of a safetensors file whose numbers are small and not 0 in every type of reals; nil where a name stands
    /// twice.
    private static func file(_ entries: [SafetensorsEntry]) -> [UInt8]? {
        guard Set(entries.map(\.name)).count == entries.count else { return nil }
        var header = JSONObject()
        var offset = 0
        for entry in entries {
            header[entry.name] = .object([
                "dtype": .string(entry.dtype.rawValue), "shape": .array(entry.shape.map { .integer($0) }),
                "data_offsets": .array([.integer(offset), .integer(offset + entry.byteCount)]),
            ])
            offset += entry.byteCount
        }
        let text = Array(JSONValue.object(header).text().utf8)
        let size = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) }
        return size + text + [UInt8](repeating: 0x3C, count: offset)
    }
}
