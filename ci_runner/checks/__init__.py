"""Case results and history to findings and figures. Pure: nothing here touches the world."""
