import Compute
import TensorCore

/// One expert of a mixture: the places of its projections, and what lies between them.
struct Expert {
    /// The projections of the input: gate and up, or both in one whose outputs alternate.
    let inputs: [ProjectionSlot]
    let down: ProjectionSlot
    /// The places by the names of packed parameters, where those are not the files' modules: gate and up in one, gate's
    /// outputs first, and down. One that is adapted stands for the others.
    var packed: (input: ProjectionSlot, down: ProjectionSlot)?
    /// For one projection: gates z count as z / (1 + exp(-alpha z)), with what is beyond the limit cut.
    var clamp: (alpha: Float, limit: Float)?

    /// Every place, in the order of computation.
    var slots: [ProjectionSlot] {
        let own = inputs + [down]
        return own + [packed?.input, packed?.down].compactMap { $0 }.filter { slot in !own.contains { $0 === slot } }
    }

    private func inputOutputs(_ x: Variable, in pass: Pass) -> [Variable] {
        guard let packed, packed.input.isAdapted else { return inputs.map { $0.forward(x, in: pass) } }
        let both = packed.input.forward(x, in: pass)
        return both.split([both.value.columns / 2, both.value.columns / 2])
    }

    func forward(_ x: Variable, in pass: Pass) -> Variable {
        let tape = pass.tape
        let inner = inputOutputs(x, in: pass)
        let down = packed.map { $0.down.isAdapted ? $0.down : self.down } ?? self.down
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

    var slots: [ProjectionSlot] { [router] + experts.flatMap(\.slots) }

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

    /// An expert of three modules in the files, with places by the names of the packed parameters `gate_up_proj` and
    /// `down_proj` of `module` (transformers 5 holds every mixture so).
    ///
    /// - Parameters:
    ///   - path: what stands before the modules' names, such as `mlp.experts.3.`.
    ///   - names: what the files call gate, up and down.
    func expert(
        _ number: Int, path: String, _ names: (gate: String, up: String, down: String), packedIn module: String
    ) throws -> Expert {
        let (gate, up, down) = (try slot(path + names.gate), try slot(path + names.up), try slot(path + names.down))
        let context = loader.context
        func place(_ name: String) -> String {
            ModulePart.layerPrefix + "\(index)." + ExpertPath(module, number, name).path
        }
        let both = StackedMatrix([gate, up].map { $0.projection.frozen.matrix }, context)
        let joint = ProjectionSlot(PlainProjection(path: place("gate_up_proj"), frozen: FrozenLinear(both)))
        let isSame = down.projection.path.hasSameBytes(as: place("down_proj"))
        let other =
            isSame ? down : ProjectionSlot(PlainProjection(path: place("down_proj"), frozen: down.projection.frozen))
        return Expert(inputs: [gate, up], down: down, packed: (joint, other))
    }
}
