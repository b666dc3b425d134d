/// What a merge did, as measured on what was written.
package struct MergeReport: Sendable {
    /// One module's outcome.
    package struct Module: Sendable, Equatable {
        /// How it was to be merged.
        package let plan: MergePlan.Module
        /// Weights of the module's tensor.
        package let weightCount: Int
        /// Weights whose stored bits differ from the base's (from the base rounded to the output's type, where that is
        /// another).
        package let changedCount: Int
        /// The largest |merged - base| as stored.
        package let largestChange: Float
    }

    /// Every module of the adapter, in the base's order.
    package let modules: [Module]
    /// What was done with the gates; nil for a dense adapter.
    package let gates: MergeGates?
    /// The set of tokens that factors and expected errors are of; nil for a dense adapter.
    package let source: String?
    /// Weights of the whole checkpoint.
    package let checkpointWeightCount: Int
    /// The files of the output's tensors, names in the directory.
    package let tensorFiles: [String]
    /// The type that changed tensors are stored in, or each of them.
    package let dtypes: [String]

    /// Tensors of the base that no Llama model has and that a conversion therefore left out, by their own names.
    package let droppedTensors: [String]

    /// Modules whose weights changed.
    package var mergedCount: Int { modules.count { $0.changedCount > 0 } }
    /// Modules that were left as the base has them because their gates never open.
    package var neverFiring: [Module] { modules.filter(\.plan.neverFires) }
    /// Modules whose whole update was lost in rounding.
    package var lostInRounding: [Module] { modules.filter { !$0.plan.neverFires && $0.changedCount == 0 } }
    /// Weights that changed.
    package var changedCount: Int { modules.reduce(0) { $0 + $1.changedCount } }
    /// Weights of the tensors of all merged modules.
    package var mergedWeightCount: Int {
        modules.reduce(0) { $0 + ($1.plan.neverFires ? 0 : $1.weightCount) }
    }
    /// The part of the merged tensors' weights that changed, in 0...1.
    package var changedShareOfMerged: Double {
        mergedWeightCount == 0 ? 0 : Double(changedCount) / Double(mergedWeightCount)
    }
    /// The part of the checkpoint's weights that changed, in 0...1.
    package var changedShareOfCheckpoint: Double {
        checkpointWeightCount == 0 ? 0 : Double(changedCount) / Double(checkpointWeightCount)
    }
    /// The largest change of a weight.
    package var largestChange: Float { modules.map(\.largestChange).max() ?? 0 }
}
