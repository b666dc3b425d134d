import Adapters
import CheckpointIO
import FuzzAdapter
import FuzzSupport
import Models
import TensorCore
import Transforms

/// An adapter and its base; made once.
private let gated: GatedAdapter = {
    do { return try GatedAdapter() } catch { fatalError("the fixture is not as it was: \(error)") }
}()

/// The bytes as a list of modules to keep: an adapter is pruned to it, and its modules are looked for in a base.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let path = placeInput(start, count, as: "kept.json") + "/kept.json"
            reading {
                let selection = try ModuleSelection.read(path)
                reading {
                    let pruned = try gated.adapter.pruned(to: selection)
                    precondition(pruned.modules.count == selection.modules.count, "other modules than were chosen")
                }
                reading {
                    let configuration = try GatedAdapter.configuration(targets: "all-linear")
                    let match = try configuration.match(gated.base.linearModules, selection: selection.modules)
                    precondition(match.modules.count == selection.modules.count, "other modules than were chosen")
                }
                let again = path + ".again"
                try selection.write(to: OutputTarget(again, replacing: true))
                let read = try ModuleSelection.read(again)
                precondition(read == selection, "a selection that does not read back")
            }
            return 0
        }
    }
}
