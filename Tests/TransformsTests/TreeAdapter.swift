import Adapters
import CheckpointIO
import TensorCore
import TestSupport

/// An adapter of one method for a tree, as peft writes it, and what it does.
struct TreeAdapter {
    enum Method: String, CaseIterable, Sendable { case lora, dora, adalora, vera, ia3 }

    let method: Method
    var tensors: [TreeTensor] = []
    var fields: JSONObject = [:]
    /// By the base's tensors, in the order in which they apply.
    private(set) var effects: NameTable<[TreeEffect]> = [:]
    var random: RandomNumbers
    /// Whether the layer outside of the lists is saved whole.
    private let savesWhole: Bool

    /// - Parameter isPlain: whether it is to have nothing but updates of linear layers, so that it can be added to others.
    init(_ method: Method, for tree: MethodTree, seed: UInt64, isPlain: Bool = false) {
        self.method = method
        random = RandomNumbers(seed: seed)
        savesWhole = isPlain ? false : random.happens(onceIn: 2)
        fields["target_modules"] = .array(tree.targets.map { .string($0) })
        switch method {
        case .lora, .dora: addLowRank(tree, isPlain: isPlain)
        case .adalora: addAdaLoRA(tree, isPlain: isPlain)
        case .vera: addVeRA(tree)
        case .ia3: addIA3(tree)
        }
        guard savesWhole else { return }
        fields["modules_to_save"] = .array([.string("seal")])
        for name in [tree.whole.weight, tree.whole.bias] { replace(name, tree) }
    }

    mutating func add(_ key: String, _ shape: [Int], in range: ClosedRange<Float> = -1...1) -> [Float] {
        let values = randomValues(shape.reduce(1, *), seed: random.next(), in: range)
        tensors.append(TreeTensor(name: "base_model.model." + key, shape: shape, values: values))
        return values
    }

    mutating func affect(_ name: String, _ effect: TreeEffect) { effects[name, default: []].append(effect) }

    mutating func replace(_ name: String, _ tree: MethodTree, as key: String? = nil) {
        affect(name, .replaced(add(key ?? name, tree.tensor(name).shape)))
    }

    /// A of [rank, columns] and B of [rows, rank] as functions of their places.
    mutating func factors(_ path: String, _ rows: Int, _ columns: Int, rank: Int)
        -> (b: (Int, Int) -> Double, a: (Int, Int) -> Double)
    {
        let a = add(path + ".lora_A.weight", [rank, columns])
        let b = add(path + ".lora_B.weight", [rows, rank])
        return ({ Double(b[$0 * rank + $1]) }, { Double(a[$0 * columns + $1]) })
    }

    /// Biases of the model that were trained beside the adapter: of all layers, or of those that it is at.
    mutating func addBiases(_ tree: MethodTree) {
        let mode = random.pick(["none", "all", "lora_only"])
        fields["bias"] = .string(mode)
        guard mode != "none" else { return }
        for layer in mode == "all" ? tree.layers : tree.targeted where layer.hasBias {
            let isWrapped = tree.targets.contains(layer.leaf)
            replace(layer.bias, tree, as: layer.path + (isWrapped ? ".base_layer" : "") + ".bias")
        }
        if mode == "all", !savesWhole { replace(tree.whole.bias, tree) }
    }
}
