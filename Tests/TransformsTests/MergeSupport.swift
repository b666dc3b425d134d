import Adapters
import CKernels
import CheckpointIO
import Compute
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// A copy of a golden case's tiny model in `dtype`, over `shardCount` files, with side files; in `folder`/base.
func makeBase(
    in folder: String, dtype: DType = .f32, shardCount: Int = 1, name: String = "base",
    model: String = "golden/llama-lora-dense/model", size: Float = 1,
    config: (inout JSONObject) -> Void = { _ in }
) throws -> String {
    let golden = try ModelCheckpoint.open(fixture(model))
    let directory = try AtomicDirectory(folder + "/" + name)
    var members = try #require(golden.checkpoint.configuration?.objectValue)
    config(&members)
    try directory.write("config.json", text: JSONValue.object(members).text(indent: 2))
    try directory.write("tokenizer.json", text: "{\"not\": \"read here\"}")
    try directory.write("notes with spaces.txt", [0, 255, 10])
    try directory.write("pytorch_model.bin", [1, 2, 3])
    let names = golden.checkpoint.tensors.map(\.name)
    var map = JSONObject()
    for shard in 0..<shardCount {
        let own = names.enumerated().filter { $0.offset * shardCount / names.count == shard }.map(\.element)
        let file = shardCount == 1 ? "model.safetensors" : "model-0000\(shard + 1)-of-0000\(shardCount).safetensors"
        let entries = own.map { SafetensorsEntry(name: $0, dtype: dtype, shape: golden.shape(of: $0)!) }
        let writer = try SafetensorsWriter(
            try directory.writer(file), entries: entries, metadata: [("format", "pt"), ("shard", "\(shard)")])
        for tensor in own {
            map[tensor] = .string(file)
            let values = try golden.checkpoint.floats(of: golden.checkpoint.requiredRecord(tensor)).map { $0 * size }
            try encoded(values, dtype).withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
    }
    if shardCount > 1 {
        let index: JSONValue = .object([
            "metadata": .object(["total_size": .integer(1)]), "weight_map": .object(map),
        ])
        try directory.write(ShardIndex.fileName, text: index.text(indent: 2))
    }
    try directory.commit()
    return folder + "/" + name
}

/// Values as bytes of a type.
func encoded(_ values: [Float], _ dtype: DType) -> [UInt8] {
    if dtype == .f64 { return values.flatMap { withUnsafeBytes(of: Double($0)) { Array($0) } } }
    var bytes = [UInt8](repeating: 0, count: values.count * dtype.byteCount)
    tspeft_convert(values, Int32(TSPEFT_F32), &bytes, dtype.kernelCode, values.count)
    return bytes
}

/// A unit in the last place of a number of this size in a type.
func unitInLastPlace(of value: Double, in dtype: DType) -> Double {
    let fractionBits = [DType.f32: 23, .bf16: 7, .f16: 10, .f64: 52][dtype]!
    let smallest = dtype == .f16 ? -14 : -126
    let exponent = value == 0 ? smallest : max(Int(value.exponent), smallest)
    return Double(sign: .plus, exponent: exponent - fractionBits, significand: 1)
}

/// A tensor of a checkpoint as doubles, exact.
func doubles(_ checkpoint: Checkpoint, _ name: String) throws -> [Double] {
    let record = try checkpoint.requiredRecord(name)
    guard record.encoding == .plain(.f64) else { return try checkpoint.floats(of: record).map(Double.init) }
    return try checkpoint.withBytes(of: record) { bytes in
        (0..<record.elementCount).map {
            Double(bitPattern: bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self))
        }
    }
}

/// A tensor's stored bytes.
func bytes(_ checkpoint: Checkpoint, _ name: String) throws -> [UInt8] {
    try checkpoint.withBytes(of: try checkpoint.requiredRecord(name)) { Array($0) }
}

/// The golden case's adapter, dense or gated; gated with `active` of 100 tokens for module i (repeating) and a part of
/// sum |M|^2 that is (i + 1) / 20 of it.
func goldenAdapter(gated: Bool = false, active: [Int] = [40], base: BaseFingerprint? = nil) throws -> AdapterDirectory {
    let dense = try AdapterDirectory.read(fixture("golden/llama-lora-dense/adapter"))
    guard gated else { return dense }
    let old = dense.configuration
    var entries: [ModuleStatistics] = []
    for (index, module) in dense.modules.enumerated() {
        var entry = ModuleStatistics(module: module, rank: old.rank)
        entry.tokens = 100
        entry.active = active[index % active.count]
        entry.sumUpdateSquared = 20
        entry.sumActiveUpdateSquared = entry.active == 0 ? 0 : entry.active == 100 ? 20 : Double(index % 19 + 1)
        entry.sumBaseSquared = 1000
        entries.append(entry)
    }
    return try AdapterDirectory(
        configuration: try AdapterConfiguration(
            old.settings, isGated: true, targets: old.targets),
        modules: dense.modules, tensors: dense.tensors,
        thresholds: NameTable(uniqueKeysWithValues: dense.modules.map { ($0, 0.1) }),
        statistics: AdapterStatistics(source: "dev.json", modules: entries),
        origin: AdapterOrigin(base: base))
}
