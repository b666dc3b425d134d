import Adapters
import Models
import TensorCore

/// What a merge did, as measured on what was written.
package struct MergeReport: Sendable {
    /// What became of tensors.
    package struct Outcome: Sendable, Equatable {
        /// Weights of the tensors.
        package var weightCount = 0
        /// Weights whose stored bits differ from the base's (from the base rounded to the output's type, where that is
        /// another).
        package var changedCount = 0
        /// The largest |merged - base| as stored.
        package var largestChange: Float = 0

        /// The part of the weights that changed, in 0...1.
        package var changedShare: Double { weightCount == 0 ? 0 : Double(changedCount) / Double(weightCount) }

        /// Takes in other tensors.
        mutating func add(_ other: Outcome) {
            weightCount += other.weightCount
            changedCount += other.changedCount
            largestChange = max(largestChange, other.largestChange)
        }
    }

    /// One module's outcome. A tensor that several adapters share has their sum in it.
    package struct Module: Sendable, Equatable {
        /// How it was to be merged.
        package let plan: MergePlan.Module
        /// What became of its tensors.
        package let outcome: Outcome

        /// Weights of the module's tensors.
        package var weightCount: Int { outcome.weightCount }
        /// Weights that changed.
        package var changedCount: Int { outcome.changedCount }
        /// The largest change of a weight.
        package var largestChange: Float { outcome.largestChange }
    }

    /// One adapter's outcome.
    package struct Part: Sendable {
        /// How it was to be merged.
        package let plan: MergePlan.Part
        /// Every module of the adapter, in the base's order.
        package let modules: [Module]

        /// Modules whose weights changed.
        package var mergedCount: Int { modules.count { $0.plan.omission == nil && $0.changedCount > 0 } }
        /// Modules that were left as the base has them because their gates never open.
        package var neverFiring: [Module] { modules.filter(\.plan.neverFires) }
        /// Modules that were left as the base has them because they have no rank left.
        package var withoutRank: [Module] { modules.filter { $0.plan.omission == .rankZero } }
        /// Modules whose whole update was lost in rounding.
        package var lostInRounding: [Module] { modules.filter { $0.plan.omission == nil && $0.changedCount == 0 } }
        /// What became of the tensors of all merged modules.
        package var total: Outcome {
            modules.reduce(into: Outcome()) { if $1.plan.omission == nil { $0.add($1.outcome) } }
        }
        /// Layers that the adapter holds whole.
        package var whole: [Module] { modules.filter(\.plan.isWhole) }
        /// The mean expected error over all modules that have a gate; those that are left as they were, and so merged
        /// exactly, count as 0.
        package var meanError: Double {
            modules.reduce(0) { $0 + $1.plan.expectedError } / Double(max(1, modules.count - whole.count))
        }
    }

    /// The adapters, in the order in which they were given.
    package let parts: [Part]
    /// What became of all tensors that were to change, each counted once.
    package let total: Outcome
    /// Weights of the whole output.
    package let checkpointWeightCount: Int
    /// The files of the output's tensors, names in the directory.
    package let tensorFiles: [String]
    /// The type that changed tensors are stored in, or each of them.
    package let dtypes: [String]
    /// Tensors of the base that are none of the model's and that a conversion therefore left out, by their own names.
    package let droppedTensors: [String]

    /// Which tensors were used and changed.
    package let account: MergeAccount

    /// A tensor that had numbers in the base which are NaN or infinite, and has them still.
    package struct NotFinite: Sendable, Equatable {
        /// The tensor's name in the output.
        package let tensor: String
        /// Its numbers that are so.
        package let count: Int
    }

    /// Tensors among those that were to change whose numbers were not all finite in the base, in the plan's order.
    package var notFinite: [NotFinite] = []

    /// An adapter for another task than the base's.
    package struct Head: Sendable, Equatable {
        /// What messages call the adapter.
        package let adapter: String
        /// What it was trained for.
        package let task: AdapterTask
        /// The class that the base's configuration names; nil where it names none.
        package let baseClass: String?

        /// Such an adapter; nil where it is for language modelling, or the base's class is of its task.
        package init?(_ adapter: AdapterDirectory, in base: ModelCheckpoint) {
            guard let task = adapter.task else { return nil }
            let found = base.checkpoint.configuration?["architectures"]?.arrayValue?.first?.stringValue
            if let found, AdapterTask.classEndings.contains(where: { found.hasSuffix($0) }) { return nil }
            (self.adapter, self.task, baseClass) = (adapter.displayName, task, found)
        }
    }

    /// Adapters for another task than the base's.
    package var heads: [Head] = []

    /// What became of each changed tensor of a GGUF file, in the file's order; empty for other outputs.
    package var roundings: [TensorRounding] = []
    /// What to do about updates that rounding swallowed; nil where it swallowed none.
    package var advice: RoundingAdvice?

    /// What was written in place of the merged checkpoint itself; nil where that was written.
    package var conversion: CheckpointConversion?

    /// Modules that an adapter has.
    package var moduleCount: Int { NameSet(parts.flatMap { $0.modules.map(\.plan.module) }).count }
    /// Modules whose weights changed.
    package var mergedCount: Int {
        let merged = parts.flatMap { $0.modules.filter { $0.plan.omission == nil && $0.changedCount > 0 } }
        return NameSet(merged.map(\.plan.module)).count
    }
    /// Weights that changed.
    package var changedCount: Int { total.changedCount }
    /// The part of the checkpoint's weights that changed, in 0...1.
    package var changedShareOfCheckpoint: Double {
        checkpointWeightCount == 0 ? 0 : Double(changedCount) / Double(checkpointWeightCount)
    }
    /// The largest change of a weight.
    package var largestChange: Float { total.largestChange }
}
