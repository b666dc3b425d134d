import Adapters
import CheckpointIO
import TensorCore
import TestSupport

/// LoRA and DoRA.
extension TreeAdapter {
    /// Rank and scaling by the last part of a path.
    private struct Numbers {
        let rank: Int
        let alpha: Int
        let isRSLoRA: Bool
        var ranks: [String: Int] = [:]
        var alphas: [String: Int] = [:]

        func rank(_ leaf: String) -> Int { ranks[leaf] ?? rank }
        func scale(_ leaf: String) -> Double {
            let rank = Double(rank(leaf))
            return Double(alphas[leaf] ?? alpha) / (isRSLoRA ? rank.squareRoot() : rank)
        }
    }

    mutating func addLowRank(_ tree: MethodTree, isPlain: Bool) {
        let (rank, alpha) = (random.number(in: 1...5), random.number(in: 1...12))
        var numbers = Numbers(rank: rank, alpha: alpha, isRSLoRA: random.happens(onceIn: 3))
        if random.happens(onceIn: 2) { numbers.ranks[random.pick(tree.targets)] = random.number(in: 1...7) }
        if random.happens(onceIn: 2) { numbers.alphas[random.pick(tree.targets)] = random.number(in: 1...30) }
        let hasBias = method == .lora && tree.targeted.allSatisfy(\.hasBias) && random.happens(onceIn: 2)
        fields["peft_type"] = .string("LORA")
        fields["r"] = .integer(numbers.rank)
        fields["lora_alpha"] = .integer(numbers.alpha)
        fields["use_rslora"] = .bool(numbers.isRSLoRA)
        fields["use_dora"] = .bool(method == .dora)
        fields["lora_bias"] = .bool(hasBias)
        fields["rank_pattern"] = .integers(numbers.ranks)
        fields["alpha_pattern"] = .integers(numbers.alphas)
        if !hasBias, !isPlain { addBiases(tree) }
        for layer in tree.targeted {
            let rank = numbers.rank(layer.leaf)
            let (b, a) = factors(layer.path, layer.rows, layer.columns, rank: rank)
            affect(layer.weight, .product(numbers.scale(layer.leaf), layer.rows, layer.columns, rank: rank, b: b, a: a))
            if method == .dora { addLengths(layer.path, of: layer.weight, layer.rows) }
            guard hasBias else { continue }
            let bias = add(layer.path + ".lora_B.bias", [layer.rows]).map { numbers.scale(layer.leaf) * Double($0) }
            affect(layer.bias, .added(bias, size: bias.map(abs)))
        }
        guard !isPlain else { return }
        let scale = Double(alpha) / (numbers.isRSLoRA ? Double(rank).squareRoot() : Double(rank))
        addEmbedding(tree, rank, scale)
        if random.happens(onceIn: 2) { addConvolution(tree, rank, scale) }
        if method == .lora, !tree.packed.isEmpty { addPacked(tree, rank, scale) }
    }

    private mutating func addLengths(
        _ path: String, of tensor: String, _ count: Int, _ shape: [Int]? = nil, ofColumns: Bool = false
    ) {
        let lengths = add(path + ".lora_magnitude_vector", shape ?? [count], in: 0.2...2)
        affect(tensor, .lengths(lengths, ofColumns: ofColumns))
    }

    /// LoRA on the embedding, or rows of it, or neither.
    private mutating func addEmbedding(_ tree: MethodTree, _ rank: Int, _ scale: Double) {
        let (path, (tokens, width)) = (MethodTree.embeddingPath, tree.embedding)
        switch random.number(in: 0...2) {
        case 0:
            addTarget("wte")
            let a = add(path + ".lora_embedding_A", [rank, tokens])
            let b = add(path + ".lora_embedding_B", [width, rank])
            affect(
                path + ".weight",
                .product(
                    scale, tokens, width, rank: rank, b: { Double(a[$1 * tokens + $0]) },
                    a: { Double(b[$1 * rank + $0]) }))
            if method == .dora { addLengths(path, of: path + ".weight", width, ofColumns: true) }
        case 1:
            let chosen = (0..<tokens).filter { _ in random.happens(onceIn: 3) } + [tokens]
            let rows = chosen.count > 1 ? chosen.dropLast() : [0]
            fields["trainable_token_indices"] = .object(["wte": .array(rows.map { .integer($0) })])
            let values = add(path + ".token_adapter.trainable_tokens_delta", [rows.count, width])
            affect(path + ".weight", .rows(Dictionary(uniqueKeysWithValues: zip(rows, 0...)), values))
        default: break
        }
    }

    private mutating func addTarget(_ name: String) {
        let old = fields["target_modules"]?.arrayValue ?? []
        fields["target_modules"] = .array(old + [.string(name)])
    }

    private mutating func addConvolution(_ tree: MethodTree, _ rank: Int, _ scale: Double) {
        addTarget("conv")
        let (path, shape) = (MethodTree.convolutionPath, tree.convolution)
        let columns = shape.dropFirst().reduce(1, *)
        let a = add(path + ".lora_A.weight", [rank] + shape.dropFirst())
        let b = add(path + ".lora_B.weight", [shape[0], rank, 1, 1])
        affect(
            path + ".weight",
            .product(
                scale, shape[0], columns, rank: rank, b: { Double(b[$0 * rank + $1]) },
                a: { Double(a[$0 * columns + $1]) }))
        if method == .dora { addLengths(path, of: path + ".weight", shape[0], [1, shape[0], 1, 1]) }
    }

    /// A's rows run (expert, rank), B's columns (rank, expert).
    private mutating func addPacked(_ tree: MethodTree, _ rank: Int, _ scale: Double) {
        fields["target_parameters"] = .array([.string("experts." + MethodTree.Packed.parameter)])
        for matrix in tree.packed {
            let (count, columns) = (matrix.count, matrix.columns)
            let a = add(matrix.module + ".lora_A.weight", [count * rank, columns])
            let b = add(matrix.module + ".lora_B.weight", [matrix.rows, count * rank])
            let all = (0..<count).map { expert in
                TreeEffect.product(
                    scale, matrix.rows, columns, rank: rank, b: { Double(b[$0 * count * rank + $1 * count + expert]) },
                    a: { Double(a[(expert * rank + $0) * columns + $1]) })
            }
            affect(matrix.name, .joined(all))
        }
    }
}
