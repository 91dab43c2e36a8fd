//! Whatever goes wrong at whichever step of place-order: the world is clean afterwards.

use std::sync::Arc;
use std::time::Duration;

use activities::payment_gateway::PaymentGateway;
use activities::payment_gateway::settings::Settings;
use activities::payment_store::PaymentStore;
use activities::verify::Moment;
use activities::{Currency, Inventory, Money, OrderId, Orders, Payments, PricedLine};
use engine::client::{Start, StartKey};
use engine::journal::{Direction, Ending};
use engine::testing::{Fault, Harm, Stage, Sweep};
use engine::view::SagaView;
use engine::{Payload, Registry};
use workflows::{Checkout, PlaceOrder};

use crate::harness::Shop;

/// What is in stock, and what is bought of it.
const STOCK: u32 = 10;
const BOUGHT: u32 = 2;
const TOTAL: i64 = 900;

struct World {
    shop: Shop,
    order_id: OrderId,
    inventory: Inventory,
    orders: Orders,
}

async fn stage() -> Stage<World> {
    let shop = Shop::open(&[("tea", STOCK)]).await;
    let inventory = Inventory::connect(&shop.databases.inventory, 3).unwrap();
    let orders = Orders::connect(&shop.databases.orders, 3).unwrap();
    let (url, key) = (Some(shop.simulator.url.as_str()), Some("sk_test_simulator"));
    let settings = Settings::from_values(url, key, Some("whsec_simulator"), None, None).unwrap();
    let payments = Arc::new(Payments {
        gateway: PaymentGateway::new(settings).unwrap(),
        store: PaymentStore::new(&orders),
        inventory: inventory.clone(),
    });
    let services =
        activities::Shop { inventory: inventory.clone(), orders: orders.clone(), payments };
    let order_id = OrderId::random();
    let (sku, name) = ("tea".to_owned(), "A tea".to_owned());
    let checkout = Checkout {
        order_id,
        customer_id: "ann".to_owned(),
        currency: Currency::Usd,
        lines: vec![PricedLine { sku, name, quantity: BOUGHT, unit_price: 450 }],
        total: Money::new(TOTAL, Currency::Usd),
        payment_method: "pm_card_visa".to_owned(),
    };
    let (scope, key) = ("ann".to_owned(), order_id.to_string());
    Stage {
        database_url: shop.databases.amends.clone(),
        registry: Registry::new().workflow::<PlaceOrder>(&Arc::new(services)),
        start: Start {
            workflow: "place-order".to_owned(),
            input: Payload::encode(&checkout).unwrap(),
            key: Some(StartKey { scope, key, fingerprint: [7; 32] }),
            business_key: Some(order_id.to_string()),
            subject: Some("ann".to_owned()),
        },
        world: World { shop, order_id, inventory, orders },
    }
}

/// What is wrong with the world, if anything is.
async fn clean(world: &World, view: &SagaView, _: Option<&Fault>) -> Result<(), String> {
    let shop = &world.shop;
    let is_placed = view.summary.ending == Some(Ending::Completed);
    let sold = if is_placed { BOUGHT } else { 0 };
    let left = "select on_hand::bigint from inventory.stock where sku = 'tea'";
    let reserved = "select reserved::bigint from inventory.stock where sku = 'tea'";
    let unsettled = "select count(*) from orders.orders where status = 'pending'";
    let confirmed = "select count(*) from orders.orders where status = 'confirmed'";
    let (inventory, orders) = (&shop.databases.inventory, &shop.databases.orders);
    let sum = |event| {
        let lines = shop.simulator.lines(event).into_iter();
        let ours = lines.filter(|line| line["order_id"] == world.order_id.to_string());
        ours.filter_map(|line| line["amount_minor"].as_i64()).sum::<i64>()
    };
    let kept = sum("captured") - sum("refunded");
    let found = [
        ("left on the shelf", shop.count(inventory, left).await, i64::from(STOCK - sold)),
        ("reserved", shop.count(inventory, reserved).await, 0),
        ("pending orders", shop.count(orders, unsettled).await, 0),
        ("confirmed orders", shop.count(orders, confirmed).await, i64::from(is_placed)),
        ("cents kept", kept, if is_placed { TOTAL } else { 0 }),
        ("cents taken at most once", sum("captured").min(TOTAL), sum("captured")),
    ];
    for (what, found, expected) in found {
        if found != expected {
            return Err(format!("{what}: {found}, not {expected}"));
        }
    }
    let mut wrong = world.inventory.verify(Moment::AtRest).await.map_err(|e| e.to_string())?;
    wrong.extend(world.orders.verify(Moment::AtRest).await.map_err(|e| e.to_string())?);
    if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_fault_at_any_step_the_world_is_clean() {
    let sweep = Sweep::new(stage).deadline(Duration::from_secs(40)).at_once(8);
    let report = sweep.run(clean).await;
    report.expect_clean();

    // Six steps, of which four have undos; each meets every kind of harm.
    let of = |step: u32, direction| {
        let tried = report.tried.iter();
        tried.filter(|fault| fault.step == step && fault.direction == direction).count()
    };
    for step in 1..=4 {
        assert_eq!((of(step, Direction::Forward), of(step, Direction::Backward)), (8, 6), "{step}");
    }
    for step in 5..=6 {
        assert_eq!((of(step, Direction::Forward), of(step, Direction::Backward)), (7, 0), "{step}");
    }
    let is_late = |fault: &&Fault| fault.harm == Harm::ArriveLate;
    assert_eq!(report.tried.iter().filter(is_late).count(), 4);
}
