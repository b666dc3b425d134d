import Compute
import TensorCore

/// One expert of a mixture: the places of its projections, and what lies between them.
struct Expert {
    /// The projections of the input: gate and up, or both in one whose outputs alternate.
    let inputs: [ProjectionSlot]
    let down: ProjectionSlot
    /// For one projection: gates z count as z / (1 + exp(-alpha z)), with what is beyond the limit cut.
    var clamp: (alpha: Float, limit: Float)?

    func forward(_ x: Variable, in pass: Pass) -> Variable {
        let tape = pass.tape
        let inner = inputs.map { $0.forward(x, in: pass) }
        guard let clamp else { return down.forward(tape.siluProduct(gate: inner[0], up: inner[1]), in: pass) }
        return down.forward(tape.clampedProduct(inner[0], alpha: clamp.alpha, limit: clamp.limit), in: pass)
    }
}

/// A mixture of experts (Shazeer et al., arXiv 1701.06538; Jiang et al., arXiv 2401.04088): each token goes to the few
/// experts that the router scores highest, and their outputs are added up by its weights. Each expert computes on its own
/// tokens alone, so that an adapter in it sees and counts no others.
struct ExpertBlock: LayerBlock {
    let router: ProjectionSlot
    let experts: [Expert]
    /// Experts that a token goes to.
    let count: Int
    let weights: RouterWeights
    /// Whether router and experts are modules of their own in the files, which adapters can name.
    var areModules = true

    var slots: [ProjectionSlot] { areModules ? [router] + experts.flatMap { $0.inputs + [$0.down] } : [] }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let tape = pass.tape
        let (routing, weights) = tape.routed(router.forward(x, in: pass), count: count, weights)
        var outputs: [Variable] = []
        var places: [(rows: [Int32], choices: [Int32])] = []
        for (expert, place) in zip(experts, routing.tokens(expertCount: experts.count)) where !place.rows.isEmpty {
            outputs.append(expert.forward(tape.gathered(x, rows: place.rows), in: pass.taking(place.rows)))
            places.append(place)
        }
        return tape.combined(outputs, places, weights: weights)
    }
}

/// How many experts a layer has, and how many of them a token goes to.
struct ExpertCounts: Sendable, Equatable {
    let all: Int
    let used: Int

    /// More than any model has; each has modules of its own.
    private static let most = 1 << 12

    /// - Parameters:
    ///   - keys: what `config.json` calls the number of experts; the first that is there counts.
    init(_ fields: ModelFields, keys: [String], assumed: (all: Int, used: Int)) throws(ModelError) {
        guard let json = fields.json else {
            throw fields.unsupported((fields.gguf?.prefix ?? "") + "expert_count", "there", "models without experts")
        }
        var all: Int?
        for key in keys where all == nil { all = try json.positiveInteger(key) }
        self.all = all ?? assumed.all
        guard self.all <= Self.most else {
            throw json.bad(keys[0], "at most \(Self.most) experts", "\(self.all)")
        }
        used = try json.positiveInteger("num_experts_per_tok") ?? assumed.used
        guard used <= self.all else {
            throw json.bad("num_experts_per_tok", "at most the \(self.all) experts", "\(used)")
        }
    }
}

extension LayerWeights {
    /// The place of a projection of the layer, by its path inside it.
    func slot(_ path: String) throws -> ProjectionSlot { try projection(ModulePart(path, gguf: "")) }
}
