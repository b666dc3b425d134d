import Adapters
import TensorCore

extension AdapterDirectory {
    /// The adapter with what stands for its gates in the updates of packed parameters, which so are ungated: it holds them as
    /// updates of parameters, in which form they are placed in a base. Itself where it has no experts of its own.
    ///
    /// A parameter's factor is sum S |M|^2 / sum |M|^2 over the tokens of all its experts, as its factor would be if they were
    /// one; its error takes each expert's own factor. Throws `AdapterError.missingStatistics` for an expert that the
    /// statistics do not tell of.
    ///
    /// - Parameter gates: what becomes of the gates; nil to leave them out, without a look at statistics.
    func replacingExpertGates(by gates: MergeGates?) throws -> AdapterDirectory {
        let parameters = packedParameters
        guard !parameters.isEmpty else { return self }
        return try replacing(parameters, by: parameters.map { try dense($0, gates) })
    }

    /// The update of a parameter with a factor, or a map, for each expert's gate.
    private func dense(_ parameter: PackedParameter, _ gates: MergeGates?) throws -> MatrixUpdate {
        var (active, whole, missed, output) = (0.0, 0.0, 0.0, 0.0)
        var scale: Float = 1
        let (a, b) = try packed(parameter) { module in
            let low = LoRA.lowRankChange(of: module, in: self)
            scale = low.scale
            guard let gates else { return low }
            let (change, replacement) = try WeightChange.added(low).replacingGate(of: module, in: self, by: gates)
            if let found = statistics?[module] {
                active += found.sumActiveUpdateSquared
                whole += found.sumUpdateSquared
                missed += replacement.expectedError * replacement.expectedError * found.sumBaseSquared
                output += found.sumBaseSquared
            }
            guard case .added(var dense) = change else { return nil }
            // The share goes into B; s is the parameter's.
            let share = Float(dense.share)
            dense.share = 1
            dense = dense.folded
            dense.b = dense.b.map { $0 * share }
            return dense
        }
        var update = MatrixUpdate(
            path: parameter.module, form: .parameter(name: parameter.name, expertCount: parameter.count), a: a, b: b,
            magnitude: nil, rank: b.shape[1] / parameter.count, scale: scale)
        if configuration.isGated, gates != nil {
            update.gate = (whole > 0 ? active / whole : 1, output > 0 ? (missed / output).squareRoot() : 0)
        }
        return update
    }
}
