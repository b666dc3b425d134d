import Foundation

/// Llama's forward pass from its definition, token by token in double precision: slow, and short enough to be read.
struct ReferenceLlama {
    var hiddenSize: Int
    var layerCount: Int
    var headCount: Int
    var keyValueHeadCount: Int
    var headSize: Int
    var epsilon: Double
    /// Radians a position for each pair of a head's elements.
    var inverseFrequencies: [Double]
    /// Every tensor by its Hugging Face name, row-major.
    var tensors: [String: [Double]]

    /// The logits of each token of one sequence.
    func logits(_ tokens: [Int]) -> [[Double]] {
        let embedding = tensors["model.embed_tokens.weight"]!
        var stream = tokens.map { Array(embedding[$0 * hiddenSize..<($0 + 1) * hiddenSize]) }
        for layer in 0..<layerCount {
            let prefix = "model.layers.\(layer)."
            let attended = attention(stream.map { norm($0, prefix + "input_layernorm.weight") }, prefix + "self_attn.")
            stream = zip(stream, attended).map { zip($0, $1).map(+) }
            stream = stream.map { x in
                let normed = norm(x, prefix + "post_attention_layernorm.weight")
                let gate = linear(normed, prefix + "mlp.gate_proj")
                let up = linear(normed, prefix + "mlp.up_proj")
                let product = zip(gate, up).map { $0 / (1 + exp(-$0)) * $1 }
                return zip(x, linear(product, prefix + "mlp.down_proj")).map(+)
            }
        }
        let head = tensors["lm_head.weight"] == nil ? "model.embed_tokens" : "lm_head"
        return stream.map { linear(norm($0, "model.norm.weight"), head) }
    }

    private func linear(_ x: [Double], _ module: String) -> [Double] {
        let weight = tensors[module + ".weight"]!
        let bias = tensors[module + ".bias"]
        return (0..<weight.count / x.count).map { (row: Int) -> Double in
            var sum = bias?[row] ?? 0
            for (index, value) in x.enumerated() { sum += weight[row * x.count + index] * value }
            return sum
        }
    }

    private func norm(_ x: [Double], _ weight: String) -> [Double] {
        let meanSquare = x.reduce(0) { $0 + $1 * $1 } / Double(x.count)
        return zip(x, tensors[weight]!).map { $0 / (meanSquare + epsilon).squareRoot() * $1 }
    }

    /// The head's elements turned by the angles of `position`, halves against each other.
    private func rotated(_ x: [Double], head: Int, position: Int) -> [Double] {
        let half = headSize / 2
        let values = Array(x[head * headSize..<(head + 1) * headSize])
        return (0..<headSize).map { index in
            let angle = Double(position) * inverseFrequencies[index % half]
            let partner = index < half ? -values[index + half] : values[index - half]
            return values[index] * cos(angle) + partner * sin(angle)
        }
    }

    private func attention(_ inputs: [[Double]], _ prefix: String) -> [[Double]] {
        let queries = inputs.map { linear($0, prefix + "q_proj") }
        let keys = inputs.map { linear($0, prefix + "k_proj") }
        let values = inputs.map { linear($0, prefix + "v_proj") }
        return inputs.indices.map { token in
            var mixed: [Double] = []
            for head in 0..<headCount {
                let group = head / (headCount / keyValueHeadCount)
                let query = rotated(queries[token], head: head, position: token)
                let scores = (0...token).map { (other: Int) -> Double in
                    let key = rotated(keys[other], head: group, position: other)
                    return zip(query, key).map(*).reduce(0, +) / Double(headSize).squareRoot()
                }
                let weights = scores.map { exp($0) }
                let sum = weights.reduce(0, +)
                for index in group * headSize..<(group + 1) * headSize {
                    mixed.append((0...token).map { weights[$0] / sum * values[$0][index] }.reduce(0, +))
                }
            }
            return linear(mixed, prefix + "o_proj")
        }
    }
}
