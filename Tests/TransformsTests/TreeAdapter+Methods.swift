import Adapters
import CheckpointIO
import TensorCore
import TestSupport

/// AdaLoRA, VeRA and IA3.
extension TreeAdapter {
    mutating func addAdaLoRA(_ tree: MethodTree, isPlain: Bool) {
        let (first, alpha) = (random.number(in: 1...6), random.number(in: 1...9))
        fields["peft_type"] = .string("ADALORA")
        fields["init_r"] = .integer(first)
        fields["target_r"] = .integer(random.number(in: 1...first))
        fields["lora_alpha"] = .integer(alpha)
        fields["total_step"] = .integer(10)
        var kept = JSONObject()
        for layer in tree.targeted {
            var flags = (0..<first).map { _ in random.happens(onceIn: 2) }
            flags[random.number(in: 0...first - 1)] = true
            kept[layer.path + ".lora_E"] = .array(flags.map { .bool($0) })
            let (rank, columns) = (flags.count { $0 }, layer.columns)
            let a = add(layer.path + ".lora_A", [rank, columns])
            let b = add(layer.path + ".lora_B", [layer.rows, rank])
            let e = add(layer.path + ".lora_E", [rank, 1])
            affect(
                layer.weight,
                .product(
                    Double(alpha) / (Double(first) + 1e-5), layer.rows, columns, rank: rank,
                    b: { Double(b[$0 * rank + $1]) }, a: { Double(e[$0]) * Double(a[$0 * columns + $1]) }))
        }
        fields["rank_pattern"] = .object(kept)
        if !isPlain { addBiases(tree) }
    }

    /// The projections may be larger than any layer of the adapter asks for.
    mutating func addVeRA(_ tree: MethodTree) {
        let rank = random.number(in: 1...9)
        let columns = tree.targeted.map(\.columns).max()! + random.number(in: 0...3)
        let rows = tree.targeted.map(\.rows).max()! + random.number(in: 0...3)
        fields["peft_type"] = .string("VERA")
        fields["r"] = .integer(rank)
        fields["projection_prng_key"] = .integer(random.number(in: 0...99))
        fields["save_projection"] = .bool(true)
        let a = randomValues(rank * columns, seed: random.next())
        let b = randomValues(rows * rank, seed: random.next())
        tensors.append(TreeTensor(name: "base_model.vera_A", shape: [rank, columns], values: a))
        tensors.append(TreeTensor(name: "base_model.vera_B", shape: [rows, rank], values: b))
        for layer in tree.targeted {
            let d = add(layer.path + ".vera_lambda_d", [rank])
            let outer = add(layer.path + ".vera_lambda_b", [layer.rows])
            affect(
                layer.weight,
                .product(
                    1, layer.rows, layer.columns, rank: rank, b: { Double(outer[$0]) * Double(b[$0 * rank + $1]) },
                    a: { Double(d[$0]) * Double(a[$0 * columns + $1]) }))
        }
    }

    mutating func addIA3(_ tree: MethodTree) {
        let inputs = tree.targets.filter { _ in random.happens(onceIn: 2) }
        fields["peft_type"] = .string("IA3")
        fields["feedforward_modules"] = .array(inputs.map { .string($0) })
        for layer in tree.targeted {
            let scalesInput = inputs.contains(layer.leaf)
            let l = add(layer.path + ".ia3_l", scalesInput ? [1, layer.columns] : [layer.rows, 1], in: -2...2)
            affect(layer.weight, .scaled(l, byColumn: scalesInput))
            if layer.hasBias, !scalesInput { affect(layer.bias, .scaled(l, byColumn: false)) }
        }
    }
}
