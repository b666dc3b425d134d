import Adapters
import CheckpointIO
import TensorCore
import TestSupport

/// A checkpoint of random names, shapes and types that no architecture has.
struct MethodTree {
    /// A linear layer.
    struct Layer {
        let path: String
        let rows: Int
        let columns: Int
        let hasBias: Bool

        var weight: String { path + ".weight" }
        var bias: String { path + ".bias" }
        /// The last part of the path, by which targets go.
        var leaf: String { String(path.split(separator: ".").last!) }
    }

    /// A packed parameter of several matrices.
    struct Packed {
        let module: String
        let count: Int
        let rows: Int
        let columns: Int

        static let parameter = "stack"
        var name: String { module + "." + Self.parameter }
    }

    private(set) var tensors: [TreeTensor] = []
    /// Layers that an adapter is to be at, and others.
    private(set) var layers: [Layer] = []
    /// The last parts of the paths of the ones.
    private(set) var targets: [String] = []
    private(set) var packed: [Packed] = []
    /// Rows and columns of the embedding.
    let embedding: (rows: Int, width: Int)
    /// Output channels and channels, height and width of a convolution.
    let convolution: [Int]
    /// A layer outside of the lists, of two tensors.
    let whole: Layer
    let shardCount: Int
    var random: RandomNumbers

    static let embeddingPath = "entry.wte"
    static let convolutionPath = "entry.patch.conv"

    private static let words = ["tiers", "bands", "steps", "rungs", "inner", "outer", "side", "cell", "core", "path"]
    private static let leaves = ["north", "south", "east", "west", "in_arm", "out_arm"]

    /// - Parameter hasBias: whether every layer has one; nil for some.
    init(seed: UInt64, hasBias: Bool? = nil) {
        random = RandomNumbers(seed: seed)
        embedding = (random.number(in: 4...20), random.number(in: 1...12))
        convolution = [random.number(in: 1...6), random.number(in: 1...4), random.number(in: 1...3), 2]
        whole = Layer(
            path: "crown.seal", rows: random.number(in: 1...7), columns: random.number(in: 2...9), hasBias: true)
        shardCount = random.number(in: 1...3)
        add(Self.embeddingPath + ".weight", [embedding.rows, embedding.width])
        add(Self.convolutionPath + ".weight", convolution)
        let list = random.pick(Self.words) + "." + random.pick(Self.words)
        let leaves = Array(Self.leaves[..<random.number(in: 2...Self.leaves.count)])
        targets = Array(leaves[..<random.number(in: 1...leaves.count - 1)])
        let biased = leaves.filter { _ in hasBias ?? random.happens(onceIn: 2) }
        let groups = leaves.map { _ in random.happens(onceIn: 2) ? random.pick(Self.words) + "." : "" }
        let isPacked = random.happens(onceIn: 2)
        for number in 0..<random.number(in: 1...3) {
            for (leaf, group) in zip(leaves, groups) {
                addLayer("\(list).\(number).\(group)\(leaf)", hasBias: biased.contains(leaf))
            }
            add("\(list).\(number).norm.weight", [random.number(in: 1...9)])
            if isPacked { addPacked("\(list).\(number).mix.experts") }
        }
        add(whole.weight, [whole.rows, whole.columns])
        add(whole.bias, [whole.rows])
    }

    private mutating func add(_ name: String, _ shape: [Int]) {
        let dtype = random.pick([DType.f32, .bf16, .f16])
        let values = randomValues(shape.reduce(1, *), seed: random.next())
        tensors.append(TreeTensor(name: name, shape: shape, dtype: dtype, values: values))
    }

    private mutating func addLayer(_ path: String, hasBias: Bool) {
        let rows = random.number(in: 1...33)
        let layer = Layer(path: path, rows: rows, columns: random.number(in: 1...33), hasBias: hasBias)
        layers.append(layer)
        add(layer.weight, [layer.rows, layer.columns])
        if hasBias { add(layer.bias, [layer.rows]) }
    }

    private mutating func addPacked(_ module: String) {
        // Not square: nothing would tell such a matrix from its transpose.
        let rows = random.number(in: 2...9)
        let matrix = Packed(
            module: module, count: random.number(in: 2...5), rows: rows, columns: rows + random.number(in: 1...7))
        packed.append(matrix)
        add(matrix.name, [matrix.count, matrix.rows, matrix.columns])
    }

    /// The layers that targets name.
    var targeted: [Layer] { layers.filter { targets.contains($0.leaf) } }

    func tensor(_ name: String) -> TreeTensor { tensors.first { $0.name == name }! }

    func write(to path: String) throws {
        try TreeFiles.write(
            tensors, shardCount: shardCount, ["model_type": .string("another-family-to-come")], to: path)
    }
}
