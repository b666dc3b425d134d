import Adapters
import CheckpointIO
import FuzzAdapter
import FuzzSupport
import TensorCore
import Transforms

/// The folder of a gated adapter whose other files are sound; written once.
private let adapterFolder: String = {
    let folder = placeBytes([], as: "place") + "/adapter"
    do { try GatedAdapter().adapter.write(to: OutputTarget(folder, replacing: true)) } catch {
        fatalError("the fixture is not as it was: \(error)")
    }
    return folder
}()

/// The bytes as the tspeft.json of a gated adapter, which is then ranked, looked at and pruned.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let folder = adapterFolder
            _ = placeInput(start, count, as: "adapter/" + PEFTNames.recordFile)
            reading {
                let adapter = try AdapterDirectory.read(folder)
                for rule in RankingRules.all {
                    let ranking = try ModuleRanking(adapter, by: rule)
                    let selection = try ranking.selection(KeepRule("50%"), adapter: "adapter")
                    let pruned = try adapter.pruned(to: selection)
                    precondition(pruned.modules.count == selection.modules.count)
                }
                for entry in adapter.statistics?.modules ?? [] {
                    _ = (entry.sparsity, entry.meanRatio, entry.bestFactor, entry.replacementError(factor: 1))
                }
                // What was read must be written so that it reads back.
                try adapter.write(to: OutputTarget(folder + "-again", replacing: true))
                _ = try AdapterDirectory.read(folder + "-again")
            }
            return 0
        }
    }
}
