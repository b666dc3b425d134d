import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging random LoRAs and DoRAs into checkpoints of random names and shapes that no architecture has: what is written
/// is plain arithmetic, and everything else stays bit for bit.
@Suite struct RandomTreeMergeTests {
    @Test(arguments: 0..<24) func mergedTreeIsPlainArithmetic(_ seed: Int) throws {
        try withTemporaryFolder { folder in
            let tree = RandomTree(seed: UInt64(seed))
            try tree.write(to: folder)
            let base = try ModelCheckpoint.open(folder + "/base")
            let adapter = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out")
            #expect(report.account.adapterTensorCount == tree.adapterTensors.count)
            #expect(report.account.changedTensorCount == tree.updates.count)
            let merged = try Checkpoint.open(folder + "/out")
            #expect(merged.tensors.map(\.name) == base.checkpoint.tensors.map(\.name))
            for tensor in tree.baseTensors {
                let record = try merged.requiredRecord(tensor.name)
                #expect(record.shape == tensor.shape && record.encoding == .plain(tensor.dtype))
                guard let expected = tree.expected(tensor) else {
                    let isSame = try bytes(merged, tensor.name) == bytes(base.checkpoint, tensor.name)
                    #expect(isSame, "\(tensor.name)")
                    continue
                }
                let found = try doubles(merged, tensor.name)
                let old = try doubles(base.checkpoint, tensor.name)
                let worst = found.indices.reduce(0.0) { worst, index in
                    let size = max(abs(expected[index]), abs(old[index]), abs(expected[index] - old[index]))
                    let bound = unitInLastPlace(of: size, in: tensor.dtype) + 1e-5
                    return max(worst, abs(found[index] - expected[index]) / bound)
                }
                #expect(worst <= 1, "\(tensor.name) \(tensor.shape) \(tensor.dtype): \(worst)")
            }
        }
    }

    /// The same adapter with one tensor more, whose module the base lacks, or one less.
    @Test(arguments: 0..<8) func strayOrMissingTensorIsRefusedByName(_ seed: Int) throws {
        try withTemporaryFolder { folder in
            var tree = RandomTree(seed: UInt64(seed))
            let key = "base_model.model.layers.9.attention.query.lora_"
            if seed % 2 == 0 {
                for (part, shape) in [("A", [tree.rank, 3]), ("B", [5, tree.rank])] {
                    let ones = [Float](repeating: 1, count: shape.reduce(1, *))
                    tree.adapterTensors.append(TreeTensor(name: key + part + ".weight", shape: shape, values: ones))
                }
            } else {
                let place = try #require(tree.adapterTensors.firstIndex { $0.name.contains("lora_B") })
                tree.adapterTensors.remove(at: place)
            }
            try tree.write(to: folder)
            let thrown = #expect(throws: (any Error).self) {
                let base = try ModelCheckpoint.open(folder + "/base")
                let adapter = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
                _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out")
            }
            let error = thrown as? any ReportableError
            #expect(error?.exitStatus == .badData)
            #expect(
                error?.description.contains(seed % 2 == 0 ? "layers.9" : "lora_B") == true,
                "\(error?.description ?? "")")
            #expect(pathKind(folder + "/out") == .nothing)
        }
    }
}

/// A checkpoint of random names, shapes and types, and an adapter of some of its modules.
struct RandomTree {
    /// The update of one tensor: dW of each expert, [experts][rows * columns], and DoRA's magnitudes.
    struct Update {
        let changes: [[Double]]
        let magnitudes: [Float]?
        /// Whether norms run along columns.
        let isEmbedding: Bool
    }

    private(set) var baseTensors: [TreeTensor] = []
    var adapterTensors: [TreeTensor] = []
    private(set) var updates: [String: Update] = [:]
    let rank: Int
    private let alpha: Double
    private let isDoRA: Bool
    private var stream: RandomNumbers
    private let shardCount: Int
    private var parameters: [String] = []

    init(seed: UInt64) {
        stream = RandomNumbers(seed: seed)
        rank = stream.number(in: 1...4)
        alpha = Double(stream.number(in: 1...12))
        isDoRA = stream.number(in: 0...3) == 0
        shardCount = stream.number(in: 1...3)
        let width = stream.number(in: 3...21)
        addEmbedding(width)
        for layer in 0..<stream.number(in: 1...3) { addLayer(layer, width) }
        addTensor("final.norm.weight", [width])
        addConvolution()
    }

    private mutating func addTensor(_ name: String, _ shape: [Int]) {
        let dtype = [DType.f32, .bf16, .f16][stream.number(in: 0...2)]
        let values = randomValues(shape.reduce(1, *), seed: stream.next())
        baseTensors.append(TreeTensor(name: name, shape: shape, dtype: dtype, values: values))
    }

    private mutating func addLayer(_ layer: Int, _ width: Int) {
        for module in ["attention.query", "attention.output", "mlp.up"] {
            let rows = stream.number(in: 1...33)
            let path = "layers.\(layer).\(module)"
            addTensor(path + ".weight", [rows, width])
            addTensor(path + ".bias", [rows])
            if module != "attention.output" { addLinear(path, rows, width) }
        }
        addTensor("layers.\(layer).norm.weight", [width])
        guard !isDoRA else { return }
        let experts = stream.number(in: 1...4)
        let (rows, columns) = (stream.number(in: 2...9), stream.number(in: 10...19))
        let path = "layers.\(layer).moe.experts"
        addTensor(path + ".up_stack", experts == 1 ? [rows, columns] : [experts, rows, columns])
        addExperts(path, experts, rows, columns)
    }

    private mutating func factor(_ key: String, _ shape: [Int]) -> [Float] {
        let values = randomValues(shape.reduce(1, *), seed: stream.next())
        adapterTensors.append(TreeTensor(name: key, shape: shape, values: values))
        return values
    }

    private var scale: Double { alpha / Double(rank) }

    private func product(_ b: (Int, Int) -> Float, _ a: (Int, Int) -> Float, _ rows: Int, _ columns: Int) -> [Double] {
        (0..<rows * columns).map { place in
            let (row, column) = place.quotientAndRemainder(dividingBy: columns)
            return scale * (0..<rank).reduce(0.0) { $0 + Double(b(row, $1)) * Double(a($1, column)) }
        }
    }

    private mutating func addLinear(_ path: String, _ rows: Int, _ columns: Int) {
        let key = "base_model.model.\(path)"
        let a = factor(key + ".lora_A.weight", [rank, columns])
        let b = factor(key + ".lora_B.weight", [rows, rank])
        let magnitudes = isDoRA ? factor(key + ".lora_magnitude_vector", [rows]) : nil
        let r = rank
        updates[path + ".weight"] = Update(
            changes: [product({ b[$0 * r + $1] }, { a[$0 * columns + $1] }, rows, columns)], magnitudes: magnitudes,
            isEmbedding: false)
    }

    private mutating func addEmbedding(_ width: Int) {
        let tokens = stream.number(in: 5...30)
        addTensor("embed_tokens.weight", [tokens, width])
        let key = "base_model.model.embed_tokens"
        let a = factor(key + ".lora_embedding_A", [rank, tokens])
        let b = factor(key + ".lora_embedding_B", [width, rank])
        let magnitudes = isDoRA ? factor(key + ".lora_magnitude_vector", [width]) : nil
        let r = rank
        updates["embed_tokens.weight"] = Update(
            changes: [product({ a[$1 * tokens + $0] }, { b[$1 * r + $0] }, tokens, width)], magnitudes: magnitudes,
            isEmbedding: true)
    }

    private mutating func addConvolution() {
        let (out, channels, size) = (stream.number(in: 1...7), stream.number(in: 1...4), stream.number(in: 1...3))
        let columns = channels * size * size
        addTensor("stem.conv.weight", [out, channels, size, size])
        let key = "base_model.model.stem.conv"
        let a = factor(key + ".lora_A.weight", [rank, channels, size, size])
        let b = factor(key + ".lora_B.weight", [out, rank, 1, 1])
        let magnitudes = isDoRA ? factor(key + ".lora_magnitude_vector", [1, out, 1, 1]) : nil
        let r = rank
        updates["stem.conv.weight"] = Update(
            changes: [product({ b[$0 * r + $1] }, { a[$0 * columns + $1] }, out, columns)], magnitudes: magnitudes,
            isEmbedding: false)
    }

    private mutating func addExperts(_ path: String, _ experts: Int, _ rows: Int, _ columns: Int) {
        if !parameters.contains("experts.up_stack") { parameters.append("experts.up_stack") }
        let key = "base_model.model.\(path)"
        let a = factor(key + ".lora_A.weight", [experts * rank, columns])
        let b = factor(key + ".lora_B.weight", [rows, experts * rank])
        let r = rank
        updates[path + ".up_stack"] = Update(
            changes: (0..<experts).map { expert in
                product(
                    { b[$0 * experts * r + $1 * experts + expert] }, { a[(expert * r + $0) * columns + $1] }, rows,
                    columns)
            }, magnitudes: nil, isEmbedding: false)
    }

    /// What a tensor becomes, in double; nil for one without an update.
    func expected(_ tensor: TreeTensor) -> [Double]? {
        guard let update = updates[tensor.name] else { return nil }
        var sums = zip(tensor.stored, update.changes.joined()).map { $0 + $1 }
        guard let magnitudes = update.magnitudes else { return sums }
        let columns = tensor.shape.dropFirst().reduce(1, *)
        var squares = [Double](repeating: 0, count: magnitudes.count)
        func line(_ index: Int) -> Int { update.isEmbedding ? index % columns : index / columns }
        for index in sums.indices { squares[line(index)] += sums[index] * sums[index] }
        for index in sums.indices { sums[index] *= Double(magnitudes[line(index)]) / squares[line(index)].squareRoot() }
        return sums
    }

    /// Writes `base` and `adapter` into a folder.
    func write(to folder: String) throws {
        try TreeFiles.write(
            baseTensors, shardCount: shardCount,
            ["model_type": .string("a-family-to-come"), "hidden_size": .integer(7)], to: folder + "/base")
        let targets = ["embed_tokens", "query", "up", "conv"].map { JSONValue.string($0) }
        let fields: JSONObject = [
            "peft_type": .string("LORA"), "r": .integer(rank), "lora_alpha": .real(alpha), "use_dora": .bool(isDoRA),
            "target_modules": .array(targets),
            "target_parameters": parameters.isEmpty ? .null : .array(parameters.map { .string($0) }),
        ]
        try TreeFiles.writeAdapter(adapterTensors, fields, to: folder + "/adapter")
    }
}
